package tcp

import (
	"slices"
	"sort"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/wire"
)

// island is received data behind a hole.
type island struct {
	begin, end Seq
	data       buffer.Buffer
}

const (
	// maxIslands bounds how many holes are kept: memory, and work for a segment, which is a binary search and at worst moving as many
	// pointers. A slow start that goes too far loses every second segment of a round trip, and what is not kept for want of an island is
	// sent once more.
	maxIslands    = 4096 // if they hold as much as segments do
	fewIslands    = 256  // of any size
	bytesToIsland = 512  // of chunk capacity, for each island above fewIslands: less is no segment's, but a peer's that wants to make work
	// recentIslands is how many islands are remembered by when they were last added to, for the SACK option: as many as fit it.
	recentIslands = 4
)

// inflow is the receive side of a connection that has unread or out-of-order data.
type inflow struct {
	queue   buffer.Buffer // in order
	held    int           // bytes that Read has detached and ReadDone not given back
	islands []*island     // sorted; between two of them, and before the first, is a hole
	charged int           // chunk capacity of islands, bytes
	recent  [recentIslands]Seq
	recents int
}

// inflow is c.rcv, taken from the pool if there was none.
func (c *Conn) inflow() *inflow {
	if c.rcv == nil {
		in, _ := c.cfg.inflows.Get().(*inflow)
		if in == nil {
			in = new(inflow)
		}
		in.queue.SetPool(c.cfg.Buffers)
		c.rcv = in
	}
	return c.rcv
}

// dropInflow gives the receive side back if nothing is in it.
func (c *Conn) dropInflow() {
	in := c.rcv
	if in == nil || in.queue.Size() > 0 || in.held > 0 || len(in.islands) > 0 {
		return
	}
	c.rcv = nil
	in.recents = 0
	c.cfg.inflows.Put(in)
}

// newIsland takes an empty island from the pool.
func (cfg *Config) newIsland(begin, end Seq) *island {
	is, _ := cfg.islands.Get().(*island)
	if is == nil {
		is = new(island)
	}
	is.begin, is.end = begin, end
	is.data.SetPool(cfg.Buffers)
	return is
}

// drop releases an island that is no longer in the list.
func (in *inflow) drop(cfg *Config, is *island) {
	in.charged -= is.data.Footprint()
	is.data.Clear()
	cfg.islands.Put(is)
}

// dropIslands throws away what is out of order.
func (c *Conn) dropIslands() {
	for _, is := range c.rcv.islands {
		c.rcv.drop(c.cfg, is)
	}
	clear(c.rcv.islands)
	c.rcv.islands, c.rcv.recents = c.rcv.islands[:0], 0
}

// search is the index of the first island that ends at or behind at; the number of islands if there is none.
func (in *inflow) search(at Seq) int {
	return sort.Search(len(in.islands), func(i int) bool { return !in.islands[i].end.Before(at) })
}

// insert keeps data that begins at seq, behind a hole, and tells which of it was there already (equal: none). Data is left empty,
// unless there is no room for one more island. What takes more than room, in bytes of chunk capacity, is packed.
func (in *inflow) insert(cfg *Config, seq Seq, data *buffer.Buffer, room int) (dupLeft, dupEnd Seq) {
	end := seq + Seq(data.Size())
	i := in.search(seq)
	var is *island
	if i < len(in.islands) && in.islands[i].begin.AtOrBefore(seq) {
		is = in.islands[i]
		if seq.Before(is.end) {
			dupLeft, dupEnd = seq, earlier(is.end, end)
		}
		if end.AtOrBefore(is.end) {
			data.Clear()
			in.touch(seq)
			return dupLeft, dupEnd
		}
		data.TrimFront(is.end.minus(seq))
		is.end = end
	} else {
		if n := len(in.islands); in.full() {
			if i == n {
				return 0, 0
			}
			last := in.islands[n-1]
			in.islands = in.islands[:n-1]
			in.drop(cfg, last)
		}
		is = cfg.newIsland(seq, end)
		in.islands = append(in.islands, is)
		copy(in.islands[i+1:], in.islands[i:])
		in.islands[i] = is
	}
	before := is.data.Footprint()
	packInto(&is.data, data, room)
	in.charged += is.data.Footprint() - before
	left, right := in.absorb(cfg, i)
	if dupLeft == dupEnd {
		dupLeft, dupEnd = left, right
	}
	in.touch(seq)
	return dupLeft, dupEnd
}

// full: there are as many islands as there may be.
func (in *inflow) full() bool {
	n := len(in.islands)
	return n >= fewIslands && (n >= maxIslands || n >= in.charged/bytesToIsland)
}

// absorb joins to island i those that it has grown into, and tells the first range that it already had.
func (in *inflow) absorb(cfg *Config, i int) (dupLeft, dupEnd Seq) {
	is, j := in.islands[i], i+1
	for ; j < len(in.islands) && in.islands[j].begin.AtOrBefore(is.end); j++ {
		next := in.islands[j]
		if dupLeft == dupEnd && next.begin.Before(is.end) {
			dupLeft, dupEnd = next.begin, earlier(next.end, is.end)
		}
		before := is.data.Footprint() + next.data.Footprint()
		if n := is.end.minus(next.begin); n < next.data.Size() {
			next.data.TrimFront(n)
			is.data.Merge(&next.data)
			is.end = next.end
		} else {
			next.data.Clear()
		}
		in.charged += is.data.Footprint() - before
		cfg.islands.Put(next)
	}
	in.islands = slices.Delete(in.islands, i+1, j)
	return dupLeft, dupEnd
}

// take moves what follows next in order to queue, and returns the new RCV.NXT. Of what was there already nothing is kept.
func (in *inflow) take(cfg *Config, next Seq) Seq {
	n := 0
	for ; n < len(in.islands) && in.islands[n].begin.AtOrBefore(next); n++ {
		is := in.islands[n]
		in.charged -= is.data.Footprint()
		if is.end.AtOrBefore(next) {
			is.data.Clear()
		} else {
			is.data.TrimFront(next.minus(is.begin))
			in.queue.Merge(&is.data)
			next = is.end
		}
		cfg.islands.Put(is)
	}
	if n > 0 {
		in.islands = slices.Delete(in.islands, 0, n)
	}
	if len(in.islands) == 0 {
		in.recents = 0
	}
	return next
}

// touch remembers the island with the byte at as the one to report first: "The first SACK block … MUST specify the contiguous block of
// data containing the segment which triggered this ACK" (RFC 2018 §4).
func (in *inflow) touch(at Seq) {
	i := in.search(at + 1)
	if i == len(in.islands) {
		return
	}
	is, kept := in.islands[i], 1
	recent := [recentIslands]Seq{at}
	for _, s := range in.recent[:in.recents] {
		if kept < recentIslands && (s.Before(is.begin) || is.end.AtOrBefore(s)) {
			recent[kept] = s
			kept++
		}
	}
	in.recent, in.recents = recent, kept
}

// report writes SACK blocks, the most recently received first, then "the most recently reported SACK blocks" (RFC 2018 §4), and returns
// how many.
func (in *inflow) report(blocks []wire.SACKBlock) int {
	n := 0
	for _, at := range in.recent[:in.recents] {
		if n == len(blocks) {
			return n
		}
		i := in.search(at + 1)
		if i == len(in.islands) || at.Before(in.islands[i].begin) {
			continue // pruned
		}
		b := wire.SACKBlock{Left: uint32(in.islands[i].begin), Right: uint32(in.islands[i].end)}
		if !slices.Contains(blocks[:n], b) {
			blocks[n] = b
			n++
		}
	}
	return n
}

// prune drops islands from the far end until no more than limit bytes of chunk capacity are charged for them. The peer has been told
// of them, but must keep what is not acknowledged (RFC 2018 §8).
func (in *inflow) prune(cfg *Config, limit int) {
	for in.charged > limit && len(in.islands) > 0 {
		last := len(in.islands) - 1
		in.drop(cfg, in.islands[last])
		in.islands[last] = nil
		in.islands = in.islands[:last]
	}
}
