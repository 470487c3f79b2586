package sim

import "testing"

// TestFound runs again what once broke an invariant.
func TestFound(t *testing.T) {
	for _, f := range []struct {
		what string
		seed uint64
		set  string
	}{
		{"BBR paced a segment for longer than the RTO", 1789, "scenario=14 a.nosack=1 ar.delay=3 b.cc=2 br.jitter=1 br.loss=3 rb.delay=5 " +
			"rc.dup=1 rc.reorder=2 rc.depth=1 rc.rate=5 ba=6"},
		{"BBR paced a segment for longer than the RTO", 2800, "scenario=12 a.cc=2 b.nosack=1 routers=2 ab.loss=5 ab.reorder=1 ba.delay=5 " +
			"ba.reorder=2 b.mss=1"},
		{"the same, when the RTO had been backed off", 21588, "scenario=11 a.cc=2 a.nots=1 a.nosack=1 b.cc=1 routers=2 ab.loss=4 ab.queue=3 " +
			"ba.corrupt=2 ba.queue=3 bulk=1"},
		{"the same, when the RTO had been backed off", 21039, "scenario=18 a.cc=2 a.nosack=1 b.nots=1 v6=1 ab.loss=5 how=1 b.read=3 " +
			"b.readgap=2 a.mss=1"},
		{"deferred accepts took data without a look at the memory budget", 37184, "scenario=7 b.memory=1 number=7 apart=1 b.defer=1"},
		{"a simultaneous open in which only one SYN has room for timestamps beside TCP-MD5", 10055, "scenario=3 b.nosack=1 keys=1"},
		{"a D-SACK that undid something ended the backoff of zero-window probes", 1105315, "scenario=5 ab.reorder=2 ab.depth=3 ab.rate=4 buffer=1 " +
			"b.mss=1 keys=1"},
		{"the window closed on corked data, and the persist timer waited for the cork", 1110001, "scenario=10 b.rcvbuf=6 mtu=1 ba.reorder=3 " +
			"acks=2 a.write=2 a.writegap=3 a.cork=1 a.buffer=1 b.size=2"},
		{"Output changed its mind about pacing", 521, "scenario=9 a.cc=2 mtu=3 routers=1 ab.loss=3 ab.reorder=1 ab.corrupt=1 ba.jitter=1 " +
			"ba.loss=1 every=1 b.size=1"},
		{"a SYN cookie offered a smaller window when its SYN came again and memory was short", 1105239, "scenario=14 hosts=1 ar.delay=3 ar.jitter=1 " +
			"b.cc=2 rb.rate=5 c.cookies=1 c.tick=3 c.memory=2 c.cc=2 c.nots=1 cr.delay=4 cr.loss=4 cr.reorder=1 rc.loss=2 rc.reorder=1 " +
			"d.cc=2 dr.delay=4 dr.rate=1 d.mss=1 dc=7"},
		{"the same", 1110716, "scenario=14 a.cookies=1 a.memory=1 a.nots=1 ar.loss=4 ra.dup=2 br.loss=4 br.corrupt=1 rb.loss=4 rb.reorder=1 " +
			"cr.rate=4 cr.queue=3 rc.dup=2 a.mss=1 ca=7 ab=1 ac=1"},
		{"a Fast Open SYN that came again after the end was taken for the same connection", 1124398, "scenario=7 ab.delay=1 ab.dup=2 " +
			"ab.reorder=1 ab.depth=1 ba.delay=1 fastopen=1"},
		{"what was kept behind a hole kept out what fills it, once the receive buffer had been lowered", 1117737, "scenario=13 a.cc=2 " +
			"a.nosack=1 mtu=3 ab.queue=4 ba.delay=1 at=218 gap=1 b.buffer=1 keys=1"},
		{"the same, with loss and duplicates", 1125880, "b.cc=2 b.nosack=1 ab.jitter=1 ba.loss=4 ba.dup=2 ba.corrupt=2 a.size=4 " +
			"a.buffer=1 b.size=7 b.write=2"},
		{"a router's time exceeded about a SYN whose hop limit was spoiled ended the dial", 3015368, "scenario=14 v6=1 c.nots=1 cr.loss=1 " +
			"cr.reorder=1 cr.corrupt=2"},
		{"the watch took the window of a keepalive, which is not acceptable", 3013529, "scenario=9 a.sndbuf=5 a.nots=1 b.cookies=1 b.sndbuf=4 " +
			"ab.jitter=2 ab.loss=3 ba.loss=3 ba.rate=5 orderly=1 until=6 every=2 b.size=7 b.mss=3 b.keepalive=1"},
		{"a SYN-ACK of Fast Open that was sent again took back its window, for memory was short", 7000051, "scenario=7 batches=1 begin=2 a.tick=5 " +
			"a.memory=1 a.cc=2 a.nots=1 a.pacing=1 b.cookies=2 b.tick=4 b.memory=2 b.norack=1 b.nofrto=1 b.nodsack=1 b.abort=1 b.no1337=1 " +
			"ab.delay=3 ab.loss=4 ab.queue=1 ba.delay=4 ba.loss=4 ba.reorder=2 ba.depth=3 ba.rate=1 ba.queue=4 number=7 ask=2 answer=1 " +
			"fastopen=1"},
	} {
		set, err := parseChoices(f.set)
		if err != nil {
			t.Fatal(err)
		}
		c := newChoices(f.seed)
		c.set, c.plain = set, true
		if err := try(c); err != nil {
			t.Errorf("%s: %v", f.what, err)
		}
	}
}
