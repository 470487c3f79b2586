package tcp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/siphash"
	"github.com/weirnet/weir/sched"
)

func server(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}) }

// RFC 7413 §4.1.3: the cache is bounded, and forgets who was not asked for the longest time.
func TestFastOpenCacheForgets(t *testing.T) {
	c := NewFastOpenCache(100)
	for i := range 1000 {
		c.Note(0, server(i), FastOpenResult{Cookie: []byte{1, 2, 3, byte(i)}, MSS: uint16(1000 + i)})
		if _, ok := c.Get(0, server(0)); !ok { // is always asked for
			t.Fatal("refused")
		}
	}
	if c.Len() != 100 {
		t.Errorf("%d servers are known, want 100", c.Len())
	}
	for i, want := range map[int]bool{0: true, 1: false, 900: false, 901: true, 999: true} {
		f, ok := c.Get(0, server(i))
		if known := len(f.Cookie) > 0; !ok || known != want {
			t.Errorf("server %d: known %v, want %v", i, known, want)
		} else if known && (f.Cookie[3] != byte(i) || f.MSS != uint16(1000+i)) {
			t.Errorf("server %d: %+v", i, f)
		}
	}
	c.Note(0, server(5000), FastOpenResult{MSS: 1460})
	if c.Len() != 100 {
		t.Error("a server without Fast Open takes room")
	}
}

// What is lost costs more patience each time, up to a day and a half; a success ends that.
func TestFastOpenCacheBacksOff(t *testing.T) {
	c, now := NewFastOpenCache(0), sched.Time(0)
	c.Note(now, server(1), FastOpenResult{Cookie: []byte("cook"), MSS: 1460})
	lost := FastOpenResult{Dropped: true, MSS: 1400}
	c.Note(now, server(1), lost)
	if f, ok := c.Get(now, server(1)); !ok || len(f.Cookie) != 4 || f.MSS != 1400 {
		t.Error("one loss is enough")
	}
	for i := 2; i < 20; i++ {
		c.Note(now, server(1), lost)
		pause := time.Minute << min(i, 11)
		if _, ok := c.Get(now.Add(pause-1), server(1)); ok {
			t.Errorf("loss %d: tried after less than %v", i, pause)
		}
		now = now.Add(pause)
		if _, ok := c.Get(now, server(1)); !ok {
			t.Errorf("loss %d: not tried after %v", i, pause)
		}
	}
	c.Note(now, server(1), FastOpenResult{Taken: true})
	c.Note(now, server(1), lost)
	if _, ok := c.Get(now, server(1)); !ok {
		t.Error("a success is not remembered")
	}
}

// A connection cut off: nobody tries for an hour, then two, up to 64.
func TestFastOpenCachePauses(t *testing.T) {
	c, now := NewFastOpenCache(0), sched.Time(0)
	for i := range 10 {
		c.CutOff(now)
		c.CutOff(now.Add(time.Minute)) // the others that are cut off at the same time count once
		pause := time.Hour << min(i, 6)
		if _, ok := c.Get(now.Add(pause-1), server(1)); ok {
			t.Errorf("pause %d ends before %v", i, pause)
		}
		now = now.Add(pause)
		if _, ok := c.Get(now, server(1)); !ok {
			t.Errorf("pause %d does not end after %v", i, pause)
		}
	}
	c.Works()
	c.CutOff(now)
	if _, ok := c.Get(now.Add(time.Hour), server(1)); !ok {
		t.Error("a success does not shorten the pause")
	}
}

// Cookies of Fast Open belong to a pair of addresses, and to a key.
func TestFastOpenKeys(t *testing.T) {
	k := NewFastOpenKeys(0, siphash.Key{K0: 1, K1: 2})
	cookie := k.Cookie(server(1), server(2))
	for _, c := range []struct {
		local, remote int
		good          bool
	}{{1, 2, true}, {1, 3, false}, {3, 2, false}, {2, 1, false}} {
		if good, renew := k.Check(cookie[:], server(c.local), server(c.remote)); good != c.good || renew {
			t.Errorf("%+v: %v %v", c, good, renew)
		}
	}
	if good, _ := k.Check(nil, server(1), server(2)); good {
		t.Error("no cookie is good")
	}
	zero := fastCookie(siphash.Key{}, server(1), server(2))
	if good, _ := k.Check(zero[:], server(1), server(2)); good {
		t.Error("before the first rotation, a zero key is good")
	}
	next := k.Rotate(1, siphash.Key{K0: 3})
	if good, renew := next.Check(cookie[:], server(1), server(2)); !good || !renew {
		t.Errorf("after a rotation: %v %v", good, renew)
	}
}
