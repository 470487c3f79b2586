package weir_test

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link/pipe"
)

// go test . -run Million -million 1000000 -v
var million = flag.Int("million", 0, "how many connections TestMillion has; 0: it is skipped")

// TestMillion has that many connections with both ends in this process; each echoes a byte. The process stays under 2.3 GB for a million, and
// of what is closed nothing is left. (How long a full collection takes it tells: 150 ms for 100,000 are allowed, on a machine of its own.)
func TestMillion(t *testing.T) {
	n := *million
	if n == 0 {
		t.Skip("-million says how many")
	}
	const limit = 2252 << 20 // 2.2 GiB
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	pool := buffer.NewPool(buffer.Options{})
	a, b := newPair(t, weir.Config{Buffers: pool}, pipe.Options{})
	before, goroutines := heap(), runtime.NumGoroutine()
	l, err := b.ListenTCP(netip.AddrPortFrom(addrB4, 80))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	ends := establish(t, a, l, n)
	t.Logf("%d connections: %.1f µs each to establish and echo", n, time.Since(start).Seconds()*1e6/float64(n))
	each := float64(heap()-before)/float64(len(ends)) - 8 // its place in ends
	start = time.Now()
	runtime.GC()
	collection := time.Since(start)
	resident := peakRSS(t)
	t.Logf("%.0f bytes of heap each end; a collection takes %v, %v for 100,000 connections; at most %d MB were resident", each, collection,
		collection*100_000/time.Duration(n), resident/1e6)
	if each > maxIdle || resident > int64(n)*2300 {
		t.Error("that is too much")
	}
	start = time.Now()
	for _, c := range ends {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%.1f µs each to close", time.Since(start).Seconds()*1e6/float64(n))
	clear(ends)
	l.Close()
	for _, s := range []*weir.Stack{a, b} {
		s.Close()
		if st := s.Stats(); st.Flows != 0 || st.MemoryUsed != 0 {
			t.Errorf("%d flows and %d bytes are left", st.Flows, st.MemoryUsed)
		}
	}
	if chunks, held := pool.Outstanding(); chunks != 0 || held != 0 {
		t.Errorf("%d chunks of %d bytes are not returned", chunks, held)
	}
	if left := int64(heap()) - int64(before) - int64(16*n); left > 2<<20 { // 16: ends itself
		t.Errorf("%d bytes of heap are left", left)
	}
	if g := runtime.NumGoroutine(); g > goroutines {
		t.Errorf("%d goroutines are left", g-goroutines)
	}
	runtime.KeepAlive(ends)
}

// peakRSS is the most memory that this process has had, in bytes.
func peakRSS(t *testing.T) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// establish makes n connections to l, by as many addresses of a's as that needs, and has each echo a byte. Ends are in pairs.
func establish(t *testing.T, a *weir.Stack, l *weir.TCPListener, n int) []*weir.TCPConn {
	// A port of ours serves one connection to the server.
	local := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i/16000)}) }
	var ours []netip.Addr
	for i := 0; i < n; i += 16000 {
		ours = append(ours, local(i))
	}
	if err := a.Interfaces()[1].SetAddrs(prefixes(ours...)...); err != nil {
		t.Fatal(err)
	}
	ends := make([]*weir.TCPConn, 0, 2*n)
	for i := range n {
		x, err := a.DialTCP(context.Background(), netip.AddrPortFrom(local(i), 0), netip.AddrPortFrom(addrB4, 80))
		if err != nil {
			t.Fatal(err)
		}
		y, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, x, y)
		_, _ = x.SetKeepAlive(false), y.SetKeepAlive(false) // idle they are to be, however long it takes
	}
	var one [1]byte
	for i := range ends {
		if _, err := ends[i].Write([]byte{7}); err != nil {
			t.Fatal(err)
		}
		if _, err := ends[i^1].Read(one[:]); err != nil || one[0] != 7 {
			t.Fatal(one, err)
		}
	}
	return ends
}
