package stack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// maxRecord is what a connection in TIME-WAIT or SYN-RECEIVED may take of the heap, in bytes: all of it, its place in the flow table and its
// timer as well.
const maxRecord = 96

// keptByTable is what an empty flow table may keep: of each shard 64 slots, and a chunk of records.
const keptByTable = flowShards * (64*16 + 3<<10)

// weigh is the memory that lives on the heap when all that can be collected is.
func weigh() int64 {
	for range 3 { // pools give up what they hold in two rounds
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestSynReceivedMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes its time")
	}
	const n, warm = 60_000, 100
	h := newHost(t, Config{Backlog: n + warm})
	_, d := h.attach(route0, "192.0.2.1/24")
	h.listenTCP("192.0.2.1:80", ListenOptions{})
	flood(d, "192.0.2.1:80", n, n+warm)
	before := weigh()
	flood(d, "192.0.2.1:80", 0, n)
	each := float64(weigh()-before) / n
	t.Logf("%.1f bytes for each of %d handshakes", each, n)
	if h.openings.Load() != n+warm || each > maxRecord {
		t.Errorf("%d handshakes of %.1f bytes each, want %d of at most %d", h.openings.Load(), each, n+warm, maxRecord)
	}
	h.clock.Advance(2 * time.Minute)
	if d.take(); h.flows.len() != 0 || h.openings.Load() != 0 {
		t.Errorf("%d flows are left", h.flows.len())
	}
	if left := weigh() - before; left > keptByTable {
		t.Errorf("%d bytes are left", left)
	}
}

func TestTimeWaitMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes its time")
	}
	const n, warm, perAddr = 100_000, 100, 20_000
	clock := sched.NewVirtual(testEpoch)
	da, db := pipe.New(pipe.Options{})
	a, b := New(Config{Clock: clock, Rand: rand.Uint64}), New(Config{Clock: clock, Rand: rand.Uint64})
	defer a.Close()
	defer b.Close()
	ours := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i/perAddr)}) }
	var addrs []netip.Prefix
	for i := 0; i < n+warm; i += perAddr {
		addrs = append(addrs, netip.PrefixFrom(ours(i), 24))
	}
	server := addr("192.0.2.1")
	if _, err := a.AddInterface(InterfaceConfig{Device: da, Addrs: addrs}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AddInterface(InterfaceConfig{Device: db, Addrs: []netip.Prefix{netip.PrefixFrom(server, 24)}}); err != nil {
		t.Fatal(err)
	}
	l, err := b.ListenTCP(netip.AddrPortFrom(server, 80), ListenOptions{Make: func() *TCP { return newSocket(&app{}) }})
	if err != nil {
		t.Fatal(err)
	}
	open := func(i int) {
		c := newSocket(&app{})
		local := netip.AddrPortFrom(ours(i), uint16(2000+i%perAddr))
		if err := a.ConnectTCP(c, netip.AddrPortFrom(server, 80), Bound{Local: local}); err != nil {
			t.Fatal(i, err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(i, err)
		}
		c.Close()
		s.Close()
	}
	for i := range warm {
		open(n + i)
	}
	before := weigh()
	for i := range n {
		open(i)
	}
	each := float64(weigh()-before) / n
	t.Logf("%.1f bytes for each of %d connections in TIME-WAIT", each, n)
	if a.timeWaits.Load() != n+warm || each > maxRecord {
		t.Errorf("%d connections of %.1f bytes each, want %d of at most %d", a.timeWaits.Load(), each, n+warm, maxRecord)
	}
	clock.Advance(2 * time.Minute)
	if a.flows.len() != 0 || a.timeWaits.Load() != 0 || b.flows.len() != 0 {
		t.Errorf("%d flows are left", a.flows.len())
	}
	if left := weigh() - before; left > keptByTable {
		t.Errorf("%d bytes are left", left)
	}
}

// Every handshake has its own time, whatever the others do: SYN-ACKs after 1, 2, 4, 8 and 16 s, and the end 32 s later.
func TestHandshakesKeepTheirTime(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24", "2001:db8::1/64")
	h.listenTCP("192.0.2.1:80", ListenOptions{})
	h.listenTCP("[2001:db8::1]:80", ListenOptions{})
	const n = 2000
	begun, sent := make([]sched.Time, n), make([][]time.Duration, n)
	collect := func() {
		for _, p := range d.take() {
			f := parse(p)
			i := int(f.tcp().DstPort()) - 1000
			sent[i] = append(sent[i], h.now().Sub(begun[i]))
		}
	}
	for i := range n {
		for range i % 7 {
			h.clock.Advance(time.Millisecond)
			collect()
		}
		begun[i] = h.now()
		src, dst := fmt.Sprintf("192.0.2.9:%d", 1000+i), "192.0.2.1:80"
		if i%3 == 0 {
			src, dst = fmt.Sprintf("[2001:db8::9]:%d", 1000+i), "[2001:db8::1]:80"
		}
		d.inject(tcpPacket(port(src), port(dst), wire.SYN, uint32(i), 0, ""))
		collect()
		if i%10 == 9 { // some go in between
			d.inject(tcpPacket(port(src), port(dst), wire.RST, uint32(i+1), 0, ""))
		}
	}
	for h.clock.Step() {
		collect()
	}
	want := []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 31 * time.Second}
	for i, got := range sent {
		if i%10 == 9 {
			got, want = got[:1], want[:1:6]
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("handshake %d: SYN-ACKs after %v, want %v", i, got, want)
		}
		want = want[:6]
	}
	if h.flows.len() != 0 || h.openings.Load() != 0 {
		t.Errorf("%d flows are left, %d handshakes counted", h.flows.len(), h.openings.Load())
	}
	if last := h.now().Sub(begun[n-2]); last < 63*time.Second {
		t.Errorf("the last is given up after %v, want 63 s", last)
	}
}

// A record knows its flow.
func TestRecordsKnowTheirFlows(t *testing.T) {
	h := newHost(t, Config{})
	sh := &h.flows.shards[0]
	all := h.recordsOf(sh)
	for _, c := range []struct {
		local, remote string
		scope         int
		iface         int32
	}{
		{"192.0.2.1:80", "198.18.0.1:1", 0, 0}, {"192.0.2.1:80", "198.18.0.1:1", 3, 0}, {"192.0.2.1:80", "198.18.0.1:1", 0, 2},
		{"[2001:db8::1]:80", "[2001:db8::2]:1", 0, 0}, {"[fe80::1]:80", "[fe80::2]:1", 2, 0},
	} {
		k := makeKey(protoTCP, port(c.local), port(c.remote), c.scope)
		n, r := all.new(&k, c.iface, nil)
		if r.key(all) != k || !r.is(all, &k) || int(r.iface) != max(c.scope, int(c.iface)) {
			t.Errorf("%+v: the record is that of %+v", c, r.key(all))
		}
		other := k
		other.remote[15]++
		if r.is(all, &other) {
			t.Errorf("%+v: the record is taken for another flow's", c)
		}
		all.put(n, r, timeWaitList)
	}
	for n, _ := all.earliest(); n != 0; n, _ = all.earliest() {
		all.free(n)
	}
	if all.slab.used+all.addrs.used != 0 || len(all.slab.chunks) > 1 || len(all.addrs.chunks) > 1 {
		t.Error("memory of records is not given back")
	}
}
