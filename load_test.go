package weir_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/pipe"
)

// load asks for more than one round of each kind of TestUnderLoad.
var load = flag.Duration("load", 0, "how long TestUnderLoad goes on with each kind of link")

// TestUnderLoad has two hosts do all at once, over good links and bad ones, with memory that is poisoned when it is released, compared when
// it was shared, and counted: streams both ways, connections that come and go, datagrams one by one and in batches. Then both stacks close in
// the midst of it, and all memory must be back. -load 5m goes on for so long with each kind of link.
func TestUnderLoad(t *testing.T) {
	bad := emul.Config{Delay: time.Millisecond, Loss: 0.01, Duplicate: 0.01, Reorder: 0.02, Corrupt: 0.01}
	for _, kind := range []struct {
		name string
		pipe pipe.Options
		emul *emul.Config
		much int64 // bytes that the streams move in a round
	}{
		{"super-segments", pipe.Options{}, nil, 4 << 20},
		{"packets", pipe.Options{MTU: 1500, NoOffload: true}, nil, 1 << 20},
		{"bad link", pipe.Options{MTU: 1500, NoOffload: true}, &bad, 512 << 10},
	} {
		t.Run(kind.name, func(t *testing.T) {
			for start, round := time.Now(), uint64(0); round == 0 || time.Since(start) < *load && !t.Failed(); round++ {
				da, db := pipe.New(kind.pipe)
				if testing.Short() {
					kind.much = 256 << 10
				}
				if kind.emul == nil {
					loadRound(t, da, db, kind.much, false)
					continue
				}
				there, back := *kind.emul, *kind.emul
				there.Seed, back.Seed = 2*round, 2*round+1
				loadRound(t, emul.Wrap(da, there), emul.Wrap(db, back), kind.much, back.Corrupt > 0)
			}
		})
	}
}

// loadWorld is one round.
type loadWorld struct {
	t        *testing.T
	a, b     *weir.Stack
	all      sync.WaitGroup
	corrupts bool // the links do
	stopping atomic.Bool
	moved    atomic.Int64 // bytes of streams that were read
	churned  atomic.Int64 // connections that came and went
	echoed   atomic.Int64 // datagrams that came back
	progress sync.Cond    // one of the above has changed
}

// count adds to one of the counters, and tells who waits.
func (w *loadWorld) count(c *atomic.Int64, n int) {
	w.progress.L.Lock()
	c.Add(int64(n))
	w.progress.L.Unlock()
	w.progress.Broadcast()
}

// until waits for a condition on the counters, or for an end of the round.
func (w *loadWorld) until(met func() bool) {
	w.progress.L.Lock()
	defer w.progress.L.Unlock()
	for !met() && !w.stopping.Load() {
		w.progress.Wait()
	}
}

// stop ends the round.
func (w *loadWorld) stop() {
	w.progress.L.Lock()
	w.stopping.Store(true)
	w.progress.L.Unlock()
	w.progress.Broadcast()
}

// Of a round, beside its bytes of streams.
const (
	loadChurn = 30
	loadEcho  = 100
)

func loadRound(t *testing.T, da, db link.Device, much int64, corrupts bool) {
	w := &loadWorld{t: t, corrupts: corrupts, progress: sync.Cond{L: new(sync.Mutex)}}
	var pools [2]*buffer.Pool
	for i, s := range []**weir.Stack{&w.a, &w.b} {
		pools[i] = buffer.NewPool(buffer.Options{Check: true})
		*s = newStack(t, weir.Config{Buffers: pools[i]})
	}
	join(t, w.a, weir.InterfaceConfig{Device: da, Addrs: prefixes(addrA4, addrA6)})
	join(t, w.b, weir.InterfaceConfig{Device: db, Addrs: prefixes(addrB4, addrB6)})
	w.streams(netip.AddrPortFrom(addrB4, 80))
	w.streams(netip.AddrPortFrom(addrB6, 80))
	w.churn(netip.AddrPortFrom(addrB4, 7))
	w.datagrams(netip.AddrPortFrom(addrB4, 7))
	w.datagrams(netip.AddrPortFrom(addrB6, 7))
	w.until(func() bool {
		return w.moved.Load() >= much && w.churned.Load() >= loadChurn && w.echoed.Load() >= loadEcho
	})
	w.stop()
	w.all.Go(func() { w.a.Close() })
	w.all.Go(func() { w.b.Close() })
	w.all.Wait()
	for _, p := range pools {
		if err := p.Leaked(); err != nil {
			t.Error(err)
		}
	}
}

// failed reports an error of a call, and whether there is one: those of the round's end are none.
func (w *loadWorld) failed(what string, err error) bool {
	if err != nil && !w.stopping.Load() {
		w.t.Errorf("%s: %v", what, err)
		w.stop()
	}
	return err != nil
}

// loadPeriod is after how many bytes a stream repeats itself: a prime, so that no piece of a buffer's size lies as another does.
const loadPeriod = 65521

// loadBytes are two periods.
var loadBytes = sync.OnceValue(func() []byte {
	b := make([]byte, 2*loadPeriod)
	x := uint32(1)
	for i := range loadPeriod {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	copy(b[loadPeriod:], b[:loadPeriod])
	return b
})

// endless gives a stream's bytes, and verifies what is written to it.
type endless struct {
	w   *loadWorld
	off int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), 1+e.off%40000)], loadBytes()[e.off%loadPeriod:])
	e.off += n
	return n, nil
}

func (e *endless) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		want := loadBytes()[e.off%loadPeriod:]
		want = want[:min(len(want), len(p)-n)]
		if !bytes.Equal(p[n:n+len(want)], want) {
			return n, errors.New("other bytes than were sent")
		}
		n += len(want)
		e.off += len(want)
	}
	e.w.count(&e.w.moved, len(p))
	return len(p), nil
}

// streams sends without end both ways, over two connections: by Write and Read, and by ReadFrom and WriteTo.
func (w *loadWorld) streams(to netip.AddrPort) {
	for way := range 2 {
		x, y := connect(w.t, w.a, w.b, netip.AddrPortFrom(to.Addr(), to.Port()+uint16(way)))
		for _, c := range []*weir.TCPConn{x, y} {
			w.all.Go(func() {
				var err error
				if way == 0 {
					_, err = io.Copy(c, &endless{w: w}) // c.ReadFrom
				} else {
					_, err = io.Copy(struct{ io.Writer }{c}, &endless{w: w})
				}
				w.failed("write", err)
			})
			w.all.Go(func() {
				var err error
				if way == 0 {
					_, err = io.Copy(&endless{w: w}, c) // c.WriteTo
				} else {
					_, err = io.Copy(&endless{w: w}, struct{ io.Reader }{c})
				}
				w.failed("read", err)
			})
		}
	}
}

// churn opens and closes connections: in the usual way, with a RST, and with data that nobody has read.
func (w *loadWorld) churn(to netip.AddrPort) {
	l, err := w.b.ListenTCP(to)
	if w.failed("listen", err) {
		return
	}
	w.all.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if w.failed("accept", err) {
				return
			}
			w.all.Go(func() { // ends with the connection, at the latest when the stack closes
				_, _ = io.Copy(c, struct{ io.Reader }{c})
				_ = c.Close()
			})
		}
	})
	for first := range 3 {
		w.all.Go(func() {
			for n := first; !w.stopping.Load(); n++ {
				w.visit(to, n)
			}
		})
	}
}

// visit is one connection.
func (w *loadWorld) visit(to netip.AddrPort, n int) {
	c, err := w.a.DialTCP(w.t.Context(), netip.AddrPort{}, to)
	if w.failed("dial", err) {
		return
	}
	defer func() {
		_ = c.Close()
		w.count(&w.churned, 1)
	}()
	b := loadBytes()[:1+n*977%20000]
	if _, err := c.Write(b); w.failed("write a request", err) {
		return
	}
	switch n % 5 {
	case 3:
		_ = c.SetLinger(0) // a RST, perhaps in the midst of it
		return
	case 4:
		return // unread
	}
	got := make([]byte, len(b))
	if _, err := io.ReadFull(c, got); !w.failed("read an answer", err) && !bytes.Equal(got, b) {
		w.t.Error("an answer has other bytes than were sent")
	}
}

// datagrams has an echo, one by one on odd ports and in batches on even ones. Some are fragmented; any may be lost.
func (w *loadWorld) datagrams(to netip.AddrPort) {
	for batch := range 2 {
		to := netip.AddrPortFrom(to.Addr(), to.Port()+uint16(batch))
		server, err := w.b.ListenUDP(to)
		if w.failed("listen", err) {
			return
		}
		client, err := w.a.DialUDP(w.t.Context(), netip.AddrPort{}, to)
		if w.failed("dial", err) {
			return
		}
		if batch == 1 {
			w.failed("SetGRO", server.SetGRO(true))
			w.all.Go(func() { w.echoBatches(server) })
			w.all.Go(func() { w.askInBatches(client) })
		} else {
			w.all.Go(func() { w.echo(server) })
			w.all.Go(func() { w.ask(client) })
		}
		w.all.Go(func() { w.answers(client) })
	}
}

// question puts into b a datagram that tells what it must be.
func question(b []byte, n int) []byte {
	b = b[:2+n*389%3500]
	binary.BigEndian.PutUint16(b, uint16(n%loadPeriod))
	copy(b[2:], loadBytes()[n%loadPeriod:])
	return b
}

func (w *loadWorld) ask(c *weir.UDPConn) {
	for n := 0; !w.stopping.Load(); n++ {
		if _, err := c.Write(question(make([]byte, 4000), n)); w.failed("write a datagram", err) {
			return
		}
		w.leave(n)
	}
}

func (w *loadWorld) askInBatches(c *weir.UDPConn) {
	ds := make([]weir.Datagram, 8)
	memory := make([]byte, 4000*len(ds))
	for n := 0; !w.stopping.Load(); n++ {
		for i := range ds {
			ds[i].Data = question(memory[4000*i:], n+i)
		}
		if _, err := c.WriteBatch(ds); w.failed("write a batch", err) {
			return
		}
		w.leave(len(ds) * n)
	}
}

// leave leaves something of the machine to the streams after n datagrams: for one there are 16 KiB of theirs.
func (w *loadWorld) leave(n int) {
	w.until(func() bool { return int64(n) <= 50+w.moved.Load()>>14 })
}

func (w *loadWorld) echo(c *weir.UDPConn) {
	b := make([]byte, 4000)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if w.failed("read a datagram", err) {
			return
		}
		if _, err := c.WriteToUDPAddrPort(b[:n], from); w.failed("write a datagram", err) {
			return
		}
	}
}

func (w *loadWorld) echoBatches(c *weir.UDPConn) {
	ds := make([]weir.Datagram, 16)
	memory := make([]byte, 4000*len(ds))
	for {
		for i := range ds {
			ds[i] = weir.Datagram{Data: memory[4000*i:][:4000]}
		}
		n, err := c.ReadBatch(ds)
		if w.failed("read a batch", err) {
			return
		}
		for i := range ds[:n] {
			ds[i].Data = ds[i].Data[:ds[i].N]
		}
		if _, err := c.WriteBatch(ds[:n]); w.failed("write a batch", err) {
			return
		}
	}
}

func (w *loadWorld) answers(c *weir.UDPConn) {
	b := make([]byte, 4000)
	for {
		n, err := c.Read(b)
		if w.failed("read an answer", err) {
			return
		}
		if n < 2 {
			w.t.Errorf("a datagram of %d bytes", n)
			continue
		}
		at := int(binary.BigEndian.Uint16(b))
		if want := loadBytes()[at:][:n-2]; !bytes.Equal(b[2:n], want) && !w.unnoticed(b[2:n], want) {
			w.t.Errorf("a datagram of %d bytes has other bytes than were sent: %s", n, differences(b[2:n], want))
		}
		w.count(&w.echoed, 1)
	}
}

// unnoticed reports whether a corrupting link may have changed a datagram so that its checksum does not tell: by a bit in each of two
// fragments, which stand in the same place of a 16-bit word and were flipped contrary ways. (Of a single packet it flips one bit.)
func (w *loadWorld) unnoticed(got, want []byte) bool {
	return w.corrupts && len(got) > 1500 && checksum.Sum(got, 0) == checksum.Sum(want, 0)
}

// differences says which bytes are others than they should be, as 0xor@offset.
func differences(got, want []byte) string {
	var all strings.Builder
	for i := range got {
		if x := got[i] ^ want[i]; x != 0 && all.Len() < 200 {
			fmt.Fprintf(&all, " %#x@%d", x, i)
		}
	}
	return all.String()
}
