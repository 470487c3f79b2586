package weir_test

import (
	"context"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link/pipe"
)

// maxIdle is what an idle established endpoint may take of the heap, in bytes; maxIdleOfFew where what a stack has once counts for more.
const (
	maxIdle      = 800
	maxIdleOfFew = 820
)

// TestIdleMemory establishes many connections, lets each echo a byte, and weighs both ends.
func TestIdleMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	conns, limit := 100_000, float64(maxIdle)
	if testing.Short() {
		conns, limit = 10_000, maxIdleOfFew
	}
	a, b := newPair(t, weir.Config{}, pipe.Options{})
	l, err := b.ListenTCP(netip.AddrPortFrom(addrB4, 80))
	if err != nil {
		t.Fatal(err)
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	ends := establish(t, a, l, conns)
	each := float64(heap()-before)/float64(len(ends)) - 8 // its place in ends
	t.Logf("%d endpoints, %.0f bytes each", len(ends), each)
	if each > limit {
		t.Errorf("%.0f bytes of heap per idle endpoint, want at most %.0f", each, limit)
	}
	if n := runtime.NumGoroutine(); n > goroutines+4 {
		t.Errorf("%d goroutines for %d connections", n-goroutines, conns)
	}
	runtime.KeepAlive(ends)
}

// heap is what lives on the heap, in bytes, when all that can be collected is.
func heap() uint64 {
	for range 3 { // pools give up what they hold in two rounds
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemoryBudget lets small writes and datagrams pile up unread on many sockets.
func TestMemoryBudget(t *testing.T) {
	const budget = 8 << 20
	a := newStack(t, weir.Config{})
	pool := buffer.NewPool(buffer.Options{})
	b := newStack(t, weir.Config{Memory: budget, Buffers: pool})
	da, db := pipe.New(pipe.Options{NoOffload: true})
	join(t, a, weir.InterfaceConfig{Device: da, Addrs: prefixes(addrA4)})
	join(t, b, weir.InterfaceConfig{Device: db, Addrs: prefixes(addrB4)})
	l, err := b.ListenTCP(netip.AddrPortFrom(addrB4, 80))
	if err != nil {
		t.Fatal(err)
	}
	const sockets = 100
	within := func(what string) {
		t.Helper()
		// What one packet brings may go beyond the budget, and so may what every socket is granted in any case.
		const slack = sockets*(16<<10) + 1<<20
		st := b.Stats()
		if st.MemoryBudget != budget || st.MemoryUsed > budget+slack {
			t.Fatalf("%s: %d bytes are charged, the budget is %d", what, st.MemoryUsed, st.MemoryBudget)
		}
		if _, held := pool.Outstanding(); held > budget+slack {
			t.Fatalf("%s: %d bytes are held, the budget is %d", what, held, budget)
		}
	}
	u, err := b.ListenUDP(netip.AddrPortFrom(addrB4, 9))
	if err != nil {
		t.Fatal(err)
	}
	u.SetReadBuffer(1 << 30)
	c, err := a.DialUDP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 9))
	if err != nil {
		t.Fatal(err)
	}
	for range 200_000 {
		if _, err := c.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	within("datagrams")
	if b.Stats().UDP.Overflow == 0 {
		t.Error("no datagram was refused: the test does not reach the budget")
	}
	var peers []*weir.TCPConn
	for range sockets {
		x, err := a.DialTCP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 80))
		if err != nil {
			t.Fatal(err)
		}
		y, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, y)
		x.SetWriteBuffer(64 << 10)
		for range 10_000 {
			x.SetWriteDeadline(time.Now().Add(time.Millisecond))
			if _, err := x.Write([]byte{1}); err != nil {
				break
			}
		}
		within("writes")
	}
	for _, y := range peers { // what piles up to be sent counts too
		y.SetWriteDeadline(time.Now().Add(time.Millisecond))
		y.Write(make([]byte, 1<<20))
		within("sends")
	}
	u.Close()
	if used := b.Stats().MemoryUsed; used >= budget {
		t.Errorf("%d bytes are charged after the datagrams have gone", used)
	}
}
