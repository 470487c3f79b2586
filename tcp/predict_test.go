package tcp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/tcp/cc"
	"github.com/weirnet/weir/wire"
)

// twins are two pairs of connections to which the same is done, one with header prediction, the other without.
type twins [2]*duo

// TestPredictionChangesNothing lives through the same transfers with and without header prediction: each segment that is sent, what the
// application is told, and the state after it are the same.
func TestPredictionChangesNothing(t *testing.T) {
	var predicted int
	seeds := uint64(60)
	if testing.Short() {
		seeds = 12
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { predicted += liveTwice(t, seed) })
	}
	if predicted == 0 {
		t.Error("no ACK was predicted")
	}
}

// liveTwice is the transfer of one seed. It returns how many ACKs were predicted.
func liveTwice(t *testing.T, seed uint64) (predicted int) {
	r := rand.New(rand.NewPCG(seed, 1))
	var w twins
	name := cc.Names()[seed%4]
	p := Params{MSS: 1460, GSOMax: 1460 << (seed % 3 * 2)}
	for k := range w {
		side := func() *Config {
			return &Config{Buffers: buffer.NewPool(buffer.Options{}), Congestion: name, Pacing: seed%5 == 4, noPrediction: k == 1}
		}
		w[k] = newDuo(t, side(), side(), p)
	}
	forged := seed%3 == 2                  // some segments come changed
	loss := []int{0, 0, 50, 10}[r.IntN(4)] // one segment of so many; 0: none
	var late [2][]Segment                  // in flight to both twins of an end
	var src [2][2]buffer.Buffer
	for range 1500 {
		end := r.IntN(2)
		switch r.IntN(8) {
		case 0, 1:
			b := make([]byte, 1<<r.IntN(15))
			for k, d := range w {
				src[k][end].SetPool(d.cfg[end].Buffers)
				if d.conn[end].SendSpace() >= len(b) {
					d.write(t, end, &src[k][end], b)
				}
			}
		case 2, 3:
			n := 1 << r.IntN(17)
			for _, d := range w {
				var dst buffer.Buffer
				d.conn[end].ReadDone(d.now, d.conn[end].Read(&dst, n))
				dst.Clear()
			}
		case 4:
			step := time.Duration(1) << r.IntN(28)
			for _, d := range w {
				d.now = d.now.Add(step)
				for _, c := range d.conn {
					if c.Deadline() <= d.now {
						c.Expire(d.now)
					}
				}
			}
		default:
			for range 1 + r.IntN(20) {
				segs := w.output(t, end)
				if segs == nil {
					break
				}
				if loss > 0 && r.IntN(loss) == 0 {
					segs[0].Payload.Clear()
					segs[1].Payload.Clear()
					continue
				}
				late[end] = append(late[end], segs...)
			}
			for range 1 + r.IntN(40) {
				if len(late[end]) == 0 {
					break
				}
				i := 0
				if loss > 0 && r.IntN(20) == 0 { // out of order
					i = r.IntN(len(late[end])/2) * 2
				}
				if forged && r.IntN(25) == 0 {
					forge(r, late[end][i:i+2])
				}
				predicted += w.input(t, 1-end, late[end][i:i+2])
				late[end] = append(late[end][:i:i], late[end][i+2:]...)
			}
		}
		w.compare(t)
	}
	return predicted
}

// forge changes the segment that the twins get, as a peer might that reneges, shuts its window, has urgent data or another clock, or as
// somebody on the way might.
func forge(r *rand.Rand, segs []Segment) {
	what, n := r.IntN(9), r.Uint32()
	for k := range segs {
		s := &segs[k]
		switch what {
		case 0:
			s.Options.NSACK = 0 // what was told before is so taken back
		case 1:
			s.Window = 0
		case 2:
			s.Window = uint16(n)
		case 3:
			s.Ack += Seq(n % 20_000)
		case 4:
			s.Ack -= Seq(n % 20_000)
		case 5:
			s.Options.TSEcr -= n % 3000
		case 6:
			s.Options.TSVal -= n % 3000
		case 7:
			s.Flags, s.Urgent = s.Flags|wire.URG, uint16(n%2000)
		case 8:
			s.Flags, s.ECN = s.Flags^wire.ECE, uint8(n%4)
		}
	}
}

// output has both twins of an end send a segment, and compares them; nil: they have none.
func (w *twins) output(t *testing.T, end int) []Segment {
	t.Helper()
	segs := make([]Segment, 2)
	var sent [2]bool
	for k, d := range w {
		d.now += 1000
		sent[k] = d.conn[end].Output(d.now, &segs[k])
	}
	a, b := segs[0], segs[1]
	if !bytes.Equal(a.Payload.Clone().Flatten(), b.Payload.Clone().Flatten()) {
		t.Fatal("other bytes")
	}
	a.Payload, b.Payload = buffer.Buffer{}, buffer.Buffer{}
	if sent[0] != sent[1] || !reflect.DeepEqual(a, b) {
		t.Fatalf("predicted: %t %+v\nin full:   %t %+v", sent[0], a, sent[1], b)
	}
	if !sent[0] {
		return nil
	}
	return segs
}

// input gives each twin its segment. It returns 1 if the ACK was predicted.
func (w *twins) input(t *testing.T, end int, segs []Segment) (predicted int) {
	t.Helper()
	var told [2]Events
	for k, d := range w {
		c := d.conn[end]
		if f := c.snd; k == 0 && f != nil && c.plainAck(f, &segs[0]) {
			predicted = 1
		}
		told[k] = c.Input(d.now, &segs[k])
		segs[k].Payload.Clear()
	}
	if told[0] != told[1] {
		t.Fatalf("events %v, in full %v", told[0], told[1])
	}
	return predicted
}

// compare looks at all that the twins are made of, but for where their bytes lie.
func (w *twins) compare(t *testing.T) {
	t.Helper()
	for end := range 2 {
		var state [2][]any
		for k, d := range w {
			c := *d.conn[end]
			all := []any{c.Info(), c.Deadline(), c.cc, c.hist, c.rare}
			if c.snd != nil {
				f := *c.snd
				all = append(all, f.queue.Size(), f.queue.Footprint(), append([]span{}, f.board.list[f.board.head:]...),
					append([]resent{}, f.board.resents[f.board.resentHead:]...))
				f.queue, f.board.list, f.board.head, f.board.resents, f.board.resentHead, f.board.rate.control, f.ack = buffer.Buffer{}, nil, 0, nil, 0, nil, cc.Ack{}
				all = append(all, f)
			}
			if c.rcv != nil {
				all = append(all, c.rcv.queue.Size(), c.rcv.queue.Footprint(), len(c.rcv.islands))
			}
			c.cfg, c.snd, c.rcv, c.cc, c.hist, c.rare = nil, nil, nil, nil, nil, nil
			state[k] = append(all, c)
		}
		if !reflect.DeepEqual(state[0], state[1]) {
			for i := range state[0] {
				if i >= len(state[1]) || !reflect.DeepEqual(state[0][i], state[1][i]) {
					t.Fatalf("end %d, part %d:\npredicted %+v\nin full   %+v", end, i, state[0][i], state[1][min(i, len(state[1])-1)])
				}
			}
			t.Fatal("not the same")
		}
	}
}
