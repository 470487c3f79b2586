package buffer

import (
	"sync"
	"sync/atomic"
)

// The size classes. The largest is a super-segment of 64 KiB with room for the headers of one.
const (
	class256 = 256
	class2K  = 2 << 10
	class16K = 16 << 10
	class64K = 64<<10 + 512
	classes  = 4
)

var classSize = [classes]int{class256, class2K, class16K, class64K}

// Pool gives out chunks in a few size classes (256 B, 2 KiB, 16 KiB, 64 KiB + 512 B); what is larger than the largest comes from the
// heap. One serves a stack; it is safe for concurrent use. The zero Pool is ready. A nil *Pool is ready too: it takes all from the heap,
// and lets the garbage collector have what is released.
//
// Memory that comes back is not cleared: a chunk's bytes are whatever was there before.
type Pool struct {
	free   [classes]sync.Pool // of *Chunk: a list a processor, which the garbage collector empties when it is not used
	next   atomic.Uint32      // shard of the next new chunk
	counts [shards]counters
	check  checker // nil: nobody checks
}

// shards is how many cache lines the counters of what is out are spread over. A chunk keeps to one of them for life.
const shards = 16

type counters struct {
	_     [0]func()             // no ==: its code would be in every program
	out   [classes]atomic.Int64 // chunks out, a class
	large atomic.Int64          // chunks out that are of no class
	bytes atomic.Int64          // their capacity
	_     [128 - (classes+2)*8]byte
}

// Options of a Pool.
type Options struct {
	// Check is for tests. Released memory is poisoned and never given out again, so that Release twice, Retain or use after release
	// panic; bytes that were shared are compared, when references to them are given back, with what they were (a change panics);
	// and Leaked says where the chunks that are still out were taken.
	Check bool
}

// NewPool returns an empty pool.
func NewPool(o Options) *Pool {
	p := &Pool{}
	if o.Check {
		p.check = newPoolCheck()
	}
	return p
}

// Checking says whether the pool was made with Options.Check.
func (p *Pool) Checking() bool { return p != nil && p.check != nil }

// classOf returns the smallest class that holds n bytes; notPooled if none does.
func classOf(n int) int8 {
	switch {
	case n <= class256:
		return 0
	case n <= class2K:
		return 1
	case n <= class16K:
		return 2
	case n <= class64K:
		return 3
	}
	return notPooled
}

// Get returns a chunk of capacity at least n bytes with one reference. Its bytes are not zeroed.
func (p *Pool) Get(n int) *Chunk {
	class := classOf(n)
	if class == notPooled {
		return p.adopt(make([]byte, n))
	}
	if p == nil {
		return Wrap(make([]byte, classSize[class]))
	}
	if c, _ := p.free[class].Get().(*Chunk); c != nil {
		c.refs.Store(1)
		p.counts[c.shard].out[class].Add(1)
		return c
	}
	return p.fresh(make([]byte, classSize[class]), class)
}

// adopt makes a chunk of memory that is of no class, and counts it as out of p.
func (p *Pool) adopt(b []byte) *Chunk {
	if p == nil {
		return Wrap(b)
	}
	return p.fresh(b, notPooled)
}

func (p *Pool) fresh(b []byte, class int8) *Chunk {
	c := &Chunk{data: b[:len(b):len(b)], pool: p, class: class, shard: uint8(p.next.Add(1) % shards)}
	c.refs.Store(1)
	p.count(c, 1)
	if p.check != nil {
		p.check.taken(c)
	}
	return c
}

// count adds n chunks like c to those that are out.
func (p *Pool) count(c *Chunk, n int64) {
	k := &p.counts[c.shard]
	if c.class != notPooled {
		k.out[c.class].Add(n)
		return
	}
	k.large.Add(n)
	k.bytes.Add(n * int64(len(c.data)))
}

// put takes back a chunk without references.
func (p *Pool) put(c *Chunk) {
	if p == nil {
		return
	}
	p.count(c, -1)
	if p.check != nil {
		p.check.returned(c)
		return
	}
	if c.class != notPooled {
		p.free[c.class].Put(c)
	}
}

// Outstanding returns how many chunks are out, and their capacity in bytes. While other goroutines use the pool the two are sums of
// counters that were read one after the other.
func (p *Pool) Outstanding() (chunks int, bytes int64) {
	if p == nil {
		return 0, 0
	}
	for i := range p.counts {
		k := &p.counts[i]
		for class := range k.out {
			n := k.out[class].Load()
			chunks += int(n)
			bytes += n * int64(classSize[class])
		}
		chunks += int(k.large.Load())
		bytes += k.bytes.Load()
	}
	return chunks, bytes
}
