package ip

import (
	"net/netip"
	"testing"
	"time"
)

func TestPathMTU(t *testing.T) {
	w := newWorld(t)
	mtu := func(dst string) int { return w.pathTo(dst).MTU }
	set := func(dst string, n int, news bool) {
		t.Helper()
		g := w.Generation()
		w.SetPathMTU(w.clock.Now(), addr(dst), 0, n)
		if changed := w.Generation() != g; changed != news {
			t.Errorf("set %s to %d: Generation changed: %v", dst, n, changed)
		}
	}
	set(peer4, 1400, true)
	set("::ffff:192.0.2.10", 1300, true)
	set(peer6, 1400, true)
	if mtu(peer4) != 1400 || mtu("192.0.2.10") != 1300 || mtu(peer6) != 1400 || mtu("192.0.2.11") != 1500 {
		t.Errorf("MTUs %d, %d, %d, %d", mtu(peer4), mtu("192.0.2.10"), mtu(peer6), mtu("192.0.2.11"))
	}
	set(peer4, 1450, false) // never raised
	set(peer4, 1400, false)
	if mtu(peer4) != 1400 {
		t.Errorf("MTU raised to %d", mtu(peer4))
	}
	set(peer4, 68, true) // floors
	set(peer6, 68, true)
	if mtu(peer4) != 552 || mtu(peer6) != 1280 {
		t.Errorf("floors %d, %d", mtu(peer4), mtu(peer6))
	}
	set("198.18.9.9", 9000, true) // wider than the interface
	if mtu("198.18.9.9") != 1280 {
		t.Errorf("MTU %d above the interface's", mtu("198.18.9.9"))
	}
	w.SetPathMTU(0, netip.Addr{}, 0, 1000)
}

func TestPathMTUAges(t *testing.T) {
	w := newWorld(t)
	w.SetPathMTU(w.clock.Now(), addr(peer4), 0, 1000)
	w.clock.Advance(5 * time.Minute)
	w.SetPathMTU(w.clock.Now(), addr(peer6), 0, 1300)
	w.clock.Advance(5*time.Minute - 1)
	if got := w.pathTo(peer4).MTU; got != 1000 {
		t.Errorf("MTU %d before its time", got)
	}
	g := w.Generation()
	w.clock.Advance(1)
	if got := w.pathTo(peer4).MTU; got != 1500 || w.Generation() == g {
		t.Errorf("MTU %d after ten minutes, Generation changed: %v", got, w.Generation() != g)
	}
	if got := w.pathTo(peer6).MTU; got != 1300 {
		t.Errorf("the younger MTU is %d", got)
	}
	w.SetPathMTU(w.clock.Now(), addr(peer6), 0, 1300) // confirmed: ten more minutes
	w.clock.Advance(10*time.Minute - 1)
	if got := w.pathTo(peer6).MTU; got != 1300 {
		t.Errorf("the confirmed MTU is %d", got)
	}
	w.clock.Advance(time.Minute)
	if got := w.pmtu.used.Load(); got != 0 || w.clock.Next() != 1<<63-1 {
		t.Errorf("%d entries left, next timer %d", got, w.clock.Next())
	}
}

// TestPathMTUBound teaches more destinations than there is room for.
func TestPathMTUBound(t *testing.T) {
	w := newWorld(t)
	a := addr("10.0.0.0")
	for i := range 20000 {
		a = a.Next()
		w.SetPathMTU(w.clock.Now(), a, 0, 600)
		w.clock.Advance(1)
		if i%1000 == 0 && w.pmtu.limit(a, 0, 1500) != 600 {
			t.Fatalf("%v forgotten at once", a)
		}
	}
	if n := w.pmtu.used.Load(); n > pmtuSets*pmtuWays || n < pmtuSets*pmtuWays/2 {
		t.Errorf("%d entries", n)
	}
}

// What is learned on an isolated interface, which is a tenant's own world, is not told to others.
func TestPathMTUScopes(t *testing.T) {
	w := newWorld(t)
	w.SetPathMTU(0, addr(peer4), 7, 600)
	if got := w.pathTo(peer4).MTU; got != 1500 {
		t.Error("scope 0 has learned", got)
	}
	w.SetPathMTU(0, addr(peer4), 0, 1400)
	if a, b := w.pmtu.limit(addr(peer4), 7, 1500), w.pmtu.limit(addr(peer4), 0, 1500); a != 600 || b != 1400 {
		t.Errorf("scope 7 has %d, scope 0 has %d", a, b)
	}
}
