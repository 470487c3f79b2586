package sim

import (
	"time"

	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/cc"
	"github.com/weirnet/weir/wire"
)

// scenarios are what may happen. The first is the plainest.
var scenarios = []scenario{
	{"bulk", bulk},
	{"request and response", requests},
	{"half-close", halfClose},
	{"simultaneous open", simultaneousOpen},
	{"simultaneous close", simultaneousClose},
	{"zero windows", zeroWindows},
	{"aborts", aborts},
	{"short connections", shortConnections},
	{"deep reordering", deepReordering},
	{"a peer that shrinks its window", shrinkingWindow},
	{"ACK loss", ackLoss},
	{"a link that dies and returns", outage},
	{"a smaller path MTU with ICMP", narrowPath},
	{"a smaller path MTU without ICMP", blackHole},
	{"several hosts by a router", severalHosts},
	{"many flows over a bottleneck", bottleneck},
	{"listener overflow", overflow},
	{"a link that dies for good", deadLink},
	{"a middle that spoils ECN", spoiledECN},
}

// bulk is a transfer one way or both ways.
func bulk(t *trial) {
	t.pair()
	t.talk(t.manner("a", plan{messages: 1, size: t.size("a.size")}), t.manner("b", plan{messages: 1, size: t.size("b.size")}))
}

// requests is a client that asks and a server that answers.
func requests(t *trial) {
	t.pair()
	n := 1 + t.pick("turns", 50)
	ask, answer := one(t.choices, "ask", 100, 1, 1000, 10_000), one(t.choices, "answer", 1000, 1, 100, 10_000, 30_000)
	t.talk(t.manner("a", plan{messages: n, size: ask, await: answer, lead: 1 + t.often("lead", 4)}),
		t.manner("b", plan{messages: n, size: answer, await: ask}))
}

// halfClose is a client that ends its stream before the server begins with its own.
func halfClose(t *trial) {
	t.pair()
	t.talk(t.manner("a", plan{messages: 1, size: t.size("a.size")}), t.manner("b", plan{messages: 1, size: t.size("b.size"), awaitEOF: true}))
}

// simultaneousOpen is RFC 9293 §3.5, figure 7.
func simultaneousOpen(t *trial) {
	t.pair()
	for _, from := range []*Host{t.a, t.b} {
		k := t.world.talk(t.manner(from.Name, plan{messages: 1, size: t.size(from.Name + ".size")}))
		t.talkers = append(t.talkers, k)
		to := t.b
		if from == t.b {
			to = t.a
		}
		t.dial(from, to, DialOptions{LocalPort: testPort, TCP: t.options(from.Name)}, k)
	}
}

// simultaneousClose is RFC 9293 §3.6, figure 13: both ends close when all has been sent and received, or at once.
func simultaneousClose(t *trial) {
	t.pair()
	size := t.size("size")
	at := time.Duration(1+t.pick("at", 60)) * time.Second
	p := plan{messages: 1, size: size, lingers: at, closes: t.pick("close", 2) == 1}
	t.mayFail = t.mayFail || p.closes // who closes before the peer's data has come resets
	t.talk(p, p)
}

// zeroWindows is a reader that does not read for a time, or not enough.
func zeroWindows(t *trial) {
	t.pair()
	p := t.manner("b", plan{messages: 1, size: t.size("b.size")})
	p.readFrom = one(t.choices, "readfrom", 5*time.Second, 0, time.Second, 20*time.Second, 100*time.Second)
	p.read = one(t.choices, "b.reads", 0, 1000, 5000, 20_000)
	p.readGap = one(t.choices, "pause", 0, 10*time.Millisecond, 300*time.Millisecond, time.Second)
	t.b.config.TCP.ReceiveBuffer = one(t.choices, "buffer", 64<<10, 2<<10, 8<<10, 20_000)
	t.talk(plan{messages: 1, size: one(t.choices, "a.size", 100_000, 3000, 30_000, 200_000), drains: true}, p)
}

// aborts is a reset in the middle.
func aborts(t *trial) {
	t.pair()
	t.mayFail = true
	p, q := t.manner("a", plan{messages: 1, size: t.size("a.size")}), t.manner("b", plan{messages: 1, size: t.size("b.size")})
	p.hang = one(t.choices, "a.hang", 5000, 0, 1, 1000, 20_000, 80_000)
	q.hang = one(t.choices, "b.hang", 0, 1, 1000, 20_000, 80_000)
	p.closes = rarely(t.choices, "a.closes", false, true)
	t.talk(p, q)
}

// shortConnections is hundreds, now and then thousands, of connections that carry little.
func shortConnections(t *trial) {
	t.pair()
	n := one(t.choices, "number", 20, 50, 100, 100, 200, 200, 300, 2000)
	apart := one(t.choices, "apart", time.Millisecond, 0, 100*time.Microsecond, 20*time.Millisecond)
	t.gentle(func(c *emul.Config) { // a flood that meets a narrow place meets it again at each retransmission, for all have the same RTO
		c.Queue = 0
		if n >= 200 {
			c.Loss, c.Rate = min(c.Loss, 0.01), 0
		}
	})
	ask, answer := one(t.choices, "ask", 100, 1, 2000), one(t.choices, "answer", 100, 1, 5000)
	t.listen(t.b, plan{messages: 1, size: answer, await: ask})
	options := t.options("a")
	for i := range n {
		k := t.world.talk(plan{messages: 1, size: ask, await: answer, lead: 1})
		t.talkers = append(t.talkers, k)
		t.world.At(time.Duration(i)*apart, func() { t.dial(t.a, t.b, DialOptions{TCP: options}, k) })
	}
}

// deepReordering is a middle in which packets are overtaken by up to 100 others.
func deepReordering(t *trial) {
	t.pair()
	t.gentle(func(c *emul.Config) {
		c.ReorderDepth, c.Reorder = 100, one(t.choices, "much", 0.02, 0.005, 0.1, 0.5)
		c.Rate = max(c.Rate, 10e6)
	})
	t.talk(plan{messages: 1, size: one(t.choices, "a.size", 200_000, 50_000, 600_000)}, t.manner("b", plan{messages: 1, size: t.size("b.size")}))
}

// shrinkingWindow is a peer that takes back the window it has offered (RFC 9293 §3.8.6: "strongly discouraged", and to be borne).
func shrinkingWindow(t *trial) {
	t.pair()
	if t.pick("orderly", 2) == 1 {
		t.gentle(func(c *emul.Config) { c.Reorder, c.Duplicate, c.Corrupt = 0, 0, 0 })
		t.world.orderly = !t.world.config.Batches // or several windows come at once, and only the last is known
	}
	limit := uint16(65535)
	ends := time.Duration(1+t.pick("until", 20)) * time.Second
	t.world.Every(one(t.choices, "every", 50*time.Millisecond, time.Millisecond, 300*time.Millisecond), func() bool {
		limit = []uint16{65535, 0, 1, 10, 100, 1000, 10_000}[t.world.Random().Below(7)]
		if t.world.Now() >= ends {
			limit = 65535
			return false
		}
		return true
	})
	t.back.Meddle = func(e *Event) bool {
		if !e.Flags.Has(wire.SYN) {
			e.Window = min(e.Window, limit)
		}
		return true
	}
	t.talk(plan{messages: 1, size: one(t.choices, "a.size", 100_000, 3000, 300_000)}, t.manner("b", plan{messages: 1, size: t.size("b.size")}))
}

// ackLoss is a way back that loses what carries no data.
func ackLoss(t *trial) {
	t.pair()
	percent := one(t.choices, "acks", 50, 10, 30, 80, 95)
	t.mayFail = t.mayFail || percent > 50 // a sender may come to think that nobody is there
	t.gentle(func(c *emul.Config) { c.Loss = min(c.Loss, 0.05) })
	t.back.Meddle = func(e *Event) bool {
		return e.Payload > 0 || e.Flags&(wire.SYN|wire.FIN|wire.RST) != 0 || t.world.Random().Below(100) >= percent
	}
	t.talk(t.manner("a", plan{messages: 1, size: t.size("a.size")}), plan{messages: 1, size: one(t.choices, "b.size", 0, 100, 10_000)})
}

// outage is a link that dies, for minutes perhaps, and returns.
func outage(t *trial) {
	t.pair()
	from := time.Duration(1+t.pick("dies", 3000)) * time.Millisecond
	lasts := one(t.choices, "lasts", 10*time.Second, time.Second, 60*time.Second, 200*time.Second, 500*time.Second)
	p := plan{messages: 20, size: 5000, writeGap: 100 * time.Millisecond, drains: true}
	q := plan{messages: 20, size: 2000, await: 5000, drains: true}
	if t.pick("bulk", 2) == 1 {
		p, q = plan{messages: 1, size: 600_000, drains: true}, plan{messages: 1, size: 100_000, drains: true}
		t.gentle(func(c *emul.Config) { c.Rate = 2e6 })
	}
	t.talk(p, q)
	t.opened = func() { // or the server may have given up when the client still waits
		t.world.After(from, t.bad.Cut)
		t.world.After(from+lasts, t.bad.Mend)
	}
}

// widths are of the path, before it becomes narrower.
var widths = []int{1000, 1400, 600, 1280}

// narrowPath is a path whose MTU drops in mid-stream, by the word of a router.
func narrowPath(t *trial) {
	t.behindRouter()
	narrow := one(t.choices, "narrow", widths...)
	if t.v6 {
		narrow = max(narrow, 1280)
	}
	t.world.At(time.Duration(t.pick("at", 1000))*time.Millisecond, func() { t.bad.SetMTU(narrow) })
	t.talk(plan{messages: 1, size: 300_000, write: 20_000, writeGap: one(t.choices, "gap", 20*time.Millisecond, 0)},
		t.manner("b", plan{messages: 1, size: t.size("b.size")}))
}

// behindRouter makes a and b with two routers and the bad link between those.
func (t *trial) behindRouter() {
	if t.set == nil {
		t.set = map[string]int{}
	}
	t.set["routers"] = 2
	t.pair()
}

// blackHole is the same without a word. It is for a time only: to find a way round takes probing (RFC 8899).
func blackHole(t *trial) {
	t.pair()
	from := time.Duration(t.pick("at", 1000)) * time.Millisecond
	lasts := one(t.choices, "lasts", 2*time.Second, 20*time.Second, 100*time.Second)
	mtu := one(t.choices, "narrow", widths...)
	set := func(mtu int) func() {
		return func() { t.gentle(func(c *emul.Config) { c.MTU = mtu }) }
	}
	t.world.At(from, set(mtu))
	t.world.At(from+lasts, set(0))
	t.talk(plan{messages: 1, size: 300_000, write: 20_000, writeGap: one(t.choices, "gap", 20*time.Millisecond, 0)},
		t.manner("b", plan{messages: 1, size: t.size("b.size")}))
}

// severalHosts is hosts that all talk with each other, by way of a router.
func severalHosts(t *trial) {
	w, c := t.world, t.choices
	r := w.Router("r")
	t.v6 = c.pick("v6", 2) == 1
	n := 3 + c.pick("hosts", 3)
	var hosts []*Host
	for _, name := range []string{"a", "b", "c", "d", "e"}[:n] {
		h := w.Host(name, t.hostConfig(name))
		config := LinkConfig{There: t.way(name + "r"), Back: t.way("r" + name)}
		// Packets meet two links. With 0.3 on each, an attempt and its ACK come through once in four times, and 23 failures in a row,
		// which are R2, happen to one segment in some 500.
		config.There.Loss, config.Back.Loss = min(config.There.Loss, 0.16), min(config.Back.Loss, 0.16)
		config.Back.Corrupt = 0 // two flipped bits may make up for each other in the checksum
		w.Link(h, r, config)
		hosts = append(hosts, h)
	}
	for _, to := range hosts {
		t.listen(to, plan{messages: 1, size: 3000})
		for _, from := range hosts {
			if from != to {
				k := w.talk(plan{messages: 1, size: t.size(from.Name + to.Name)})
				t.talkers = append(t.talkers, k)
				t.dial(from, to, DialOptions{TCP: t.options(from.Name)}, k)
			}
		}
	}
}

// bottleneck is flows of all kinds that share a narrow link.
func bottleneck(t *trial) {
	t.pair()
	t.gentle(func(c *emul.Config) {
		c.Rate = one(t.choices, "narrow", int64(10e6), 1e6, 100e6)
		c.Loss = min(c.Loss, 0.05)
	})
	t.listen(t.b, plan{})
	for i := range 2 + t.pick("flows", 10) {
		k := t.world.talk(plan{messages: 1, size: 50_000})
		t.talkers = append(t.talkers, k)
		o := *t.options("a")
		o.Congestion = cc.Names()[i%len(cc.Names())]
		t.world.At(time.Duration(i)*10*time.Millisecond, func() { t.dial(t.a, t.b, DialOptions{TCP: &o}, k) })
	}
}

// overflow is more connections than a listener has room for, and an application that is slow to take them.
func overflow(t *trial) {
	t.pair()
	t.mayFail = true // a client may have been told of a connection for which there was no room
	t.backlog = one(t.choices, "backlog", 4, 1, 2, 10)
	l := t.listen(t.b, plan{messages: 1, size: 1000})
	l.Lazy = true
	every := one(t.choices, "accepts", time.Second, 10*time.Millisecond, 5*time.Second)
	for i := range 3 + t.pick("clients", 30) {
		k := t.world.talk(plan{messages: 1, size: 2000})
		t.talkers = append(t.talkers, k)
		t.world.At(time.Duration(i)*time.Millisecond, func() { t.dial(t.a, t.b, DialOptions{}, k) })
	}
	t.world.Every(every, func() bool {
		l.Take(1)
		over := t.over() || t.world.Now() > time.Hour // a late segment with a good cookie may have begun what nobody ends
		if over {
			l.Close()
		}
		return !over
	})
}

// deadLink is a link that dies in mid-stream: everybody must come to the end of his patience.
func deadLink(t *trial) {
	t.pair()
	t.mayFail = true
	t.listen(t.b, t.manner("b", plan{messages: 1, size: t.size("b.size")}))
	o := t.options("a")
	o.UserTimeout = mostly(t.choices, "patience", 0, 100*time.Millisecond, 3*time.Second, 5*time.Minute)
	k := t.world.talk(t.manner("a", plan{messages: 1, size: t.size("a.size")}))
	t.talkers = append(t.talkers, k)
	t.dial(t.a, t.b, DialOptions{TCP: o}, k)
	t.world.After(time.Duration(t.pick("dies", 500))*time.Millisecond, t.bad.Cut)
	t.cut = true
}

// spoiledECN is a middle that takes marks away, or loses the SYNs that ask for ECN (RFC 3168 §6.1.1.1, RFC 9768 §3.1.4).
func spoiledECN(t *trial) {
	t.pair()
	ask := one(t.choices, "ask", tcp.AccECNAsk, tcp.ECNAsk)
	t.a.config.TCP.ECN, t.b.config.TCP.ECN = ask, one(t.choices, "take", tcp.AccECNAccept, tcp.ECNAccept, tcp.ECNOff)
	how := t.pick("how", 3)
	t.there.Meddle = func(e *Event) bool {
		return how != 0 || !e.Flags.Has(wire.SYN) || e.Flags&(wire.ECE|wire.CWR) == 0
	}
	t.back.Meddle = func(e *Event) bool {
		return how != 1 || !e.Flags.Has(wire.SYN) || e.Flags&(wire.ECE|wire.CWR) == 0
	}
	t.mayFail = t.mayFail || how == 1 // a SYN-ACK that never passes
	t.gentle(func(c *emul.Config) { c.Rate, c.Mark = 10e6, 3000 })
	t.talk(plan{messages: 1, size: 200_000}, t.manner("b", plan{messages: 1, size: t.size("b.size")}))
}
