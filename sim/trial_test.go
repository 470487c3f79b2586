package sim

import (
	"fmt"
	"time"

	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/auth"
	"github.com/weirnet/weir/tcp/cc"
)

// trial is one run: a world made by choices, and the talkers in it.
type trial struct {
	*choices
	world      *World
	talkers    []*talker
	mayFail    bool          // connections may break off
	duplicates bool          // some link duplicates packets
	rough      bool          // some link loses, duplicates, reorders or corrupts packets
	echoes     bool          // a server may have a connection more, by a SYN that came twice
	limit      time.Duration // in which all must be done
	a, b       *Host
	there      *Way // of the link that is bad, from a's side to b's
	back       *Way
	bad        *Link
	v6         bool
	backlog    int    // of the listeners; 0: the default
	cut        bool   // nobody reaches anybody in the end
	opened     func() // when the server of talk has its connection; nil: nothing
}

// maxTrialSteps bounds a run: the longest take some 100,000.
const maxTrialSteps = 1_000_000

// scenario is what happens in a trial.
type scenario struct {
	name string
	run  func(*trial)
}

// try runs the trial that the choices describe.
func try(c *choices) error { return tryTraced(c, nil) }

func tryTraced(c *choices, trace func(Event)) error {
	s := scenarios[c.pick("scenario", len(scenarios))]
	t := &trial{choices: c, limit: 30 * 24 * time.Hour}
	t.world = New(Config{
		Seed: c.seed, Check: true, MaxSteps: maxTrialSteps, Trace: trace, Batches: c.pick("batches", 2) == 1,
		Begin: mostly(c, "begin", 0, time.Hour, 49*24*time.Hour, 1<<32*time.Millisecond-time.Second),
	})
	s.run(t)
	err := t.finish()
	if e := t.world.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// finish runs until all have done what they planned, and then until nothing is left of the connections.
func (t *trial) finish() error {
	w := t.world
	done, err := w.RunWhile(t.limit, func() bool { return !t.over() })
	if err != nil {
		return err
	}
	for i, k := range t.talkers {
		if err := t.checkEnd(i, k, done); err != nil {
			return err
		}
	}
	done, err = w.RunWhile(time.Hour, func() bool {
		flows := 0
		for _, h := range w.hosts {
			flows += h.stack.Stats().Flows
		}
		return flows > 0
	})
	if err == nil && !done {
		err = fmt.Errorf("flows are left in a table an hour after all connections were closed")
	}
	return err
}

// over reports whether all talkers are.
func (t *trial) over() bool {
	for _, k := range t.talkers {
		if !k.over {
			return false
		}
	}
	return true
}

// echo reports whether a talker's connection is one more than the client has opened: the client's is another connection's peer.
func (t *trial) echo(k *talker) bool {
	return t.echoes && k.accepted && k.conn != nil && k.conn.Peer() == nil
}

// mayMissCookie reports whether a talker's connection may break off because its server keeps nothing of a SYN: what a rough way lets overtake
// the ACK with the cookie, or come after the end, or when the cookie is too old, belongs to no connection, and may be answered by a RST.
func (t *trial) mayMissCookie(k *talker) bool {
	return t.rough && k.server != nil && k.server.config.TCP.SynCookies == tcp.CookiesAlways
}

func (t *trial) checkEnd(i int, k *talker, done bool) error {
	mayFail := t.mayFail || t.echo(k) || t.mayMissCookie(k)
	switch {
	case k.conn == nil && mayFail:
	case k.conn == nil:
		return fmt.Errorf("talker %d has no connection after %v", i, t.world.Now())
	case !k.over && !done && t.cut:
		k.end(k.conn.Abort()) // it waits for what never comes, and is free to
	case !k.over && !done && mayFail && (k.conn.Peer() == nil || k.conn.Peer().over):
		k.end(k.conn.Abort()) // the other end has given up, in silence
	case !k.over && !done:
		return fmt.Errorf("talker %d (%v) is not done after %v: sent %d and received %d bytes, eof %v, state %v", i, k.conn, t.world.Now(),
			k.conn.Sent, k.conn.Received, k.eof, k.conn.Info().State)
	case k.err != nil && !(mayFail && lost(k.err)):
		return fmt.Errorf("talker %d (%v) ended with %w; sent %d and received %d bytes", i, k.conn, k.err, k.conn.Sent, k.conn.Received)
	}
	return nil
}

// hostConfig chooses what a host is.
func (t *trial) hostConfig(name string) HostConfig {
	c := t.choices
	cookies := rarely(c, name+".cookies", tcp.CookiesPressure, tcp.CookiesAlways, tcp.CookiesNever)
	buffers := []int{0, 1 << 20, 256 << 10, 64 << 10, 16 << 10, 4 << 10, 2 << 10}
	return HostConfig{
		Granularity: mostly(c, name+".tick", 0, time.Microsecond, time.Millisecond, 4*time.Millisecond, 10*time.Millisecond, 15*time.Millisecond),
		Memory:      rarely[int64](c, name+".memory", 0, 1<<20, 512<<10),
		TCP: &tcp.Config{
			SendBuffer: mostly(c, name+".sndbuf", buffers...), ReceiveBuffer: mostly(c, name+".rcvbuf", buffers...),
			DelayedAck:   rarely(c, name+".delack", 0, time.Millisecond, 200*time.Millisecond, 500*time.Millisecond),
			Congestion:   one(c, name+".cc", cc.Names()...),
			NoTimestamps: rarely(c, name+".nots", false, true), NoSACK: rarely(c, name+".nosack", false, true),
			NoWindowScale:        rarely(c, name+".nowscale", false, true),
			NoSlowStartAfterIdle: rarely(c, name+".noidle", false, true), Pacing: rarely(c, name+".pacing", false, true),
			NotSentLowat: rarely(c, name+".lowat", 0, 3000, 20_000),
			Reordering:   rarely(c, name+".reordering", 0, 10), NoRACK: rarely(c, name+".norack", false, true), NoTLP: rarely(c, name+".notlp", false, true),
			NoFRTO: rarely(c, name+".nofrto", false, true), NoDSACK: rarely(c, name+".nodsack", false, true),
			SynRetries: 20, SynAckRetries: 20, // or a path that loses three packets in ten now and then fails to open
			SynCookies:      cookies,
			AbortOnOverflow: rarely(c, name+".abort", false, true), NoRFC1337: rarely(c, name+".no1337", false, true),
			ECN:        mostly(c, name+".ecn", tcp.ECNDefault, tcp.ECNAsk, tcp.AccECNAsk, tcp.AccECNAccept, tcp.AccECNAcceptAsk, tcp.ECNOff),
			ECNControl: rarely(c, name+".ecncontrol", false, true), NoECNOption: rarely(c, name+".noecnoption", false, true),
		},
	}
}

// way chooses what a direction of the bad link does.
func (t *trial) way(name string) emul.Config {
	c := t.choices
	e := emul.Config{
		Delay:     one(c, name+".delay", time.Millisecond, 0, 100*time.Microsecond, 10*time.Millisecond, 50*time.Millisecond, 300*time.Millisecond),
		Jitter:    rarely(c, name+".jitter", 0, time.Millisecond, 20*time.Millisecond),
		Loss:      mostly(c, name+".loss", 0, 0.001, 0.01, 0.05, 0.2, 0.3),
		Duplicate: rarely(c, name+".dup", 0, 0.01, 0.1, 0.5),
		Reorder:   mostly(c, name+".reorder", 0, 0.01, 0.1, 0.5), ReorderDepth: one(c, name+".depth", 3, 10, 30, 100),
		Corrupt: rarely(c, name+".corrupt", 0, 0.01, 0.05),
		Rate:    mostly[int64](c, name+".rate", 0, 1e9, 100e6, 10e6, 1e6, 200e3),
		Mark:    rarely(c, name+".mark", 0, 3000, 15_000),
		Queue:   one(c, name+".queue", 0, 100_000, 30_000, 10_000, 3000),
	}
	t.duplicates = t.duplicates || e.Duplicate > 0
	t.rough = t.rough || e.Loss > 0 || e.Duplicate > 0 || e.Reorder > 0 || e.Jitter > 0 || e.Corrupt > 0
	return e
}

// pair makes the hosts a and b, with a bad link between them or, by way of one or two routers, in the middle.
func (t *trial) pair() {
	w, c := t.world, t.choices
	t.a, t.b = w.Host("a", t.hostConfig("a")), w.Host("b", t.hostConfig("b"))
	mtu := mostly(c, "mtu", 1500, 9000, 576, 1280, 300, 65535)
	t.v6 = c.pick("v6", 2) == 1 && mtu >= 1280
	left, right := t.a, t.b
	for i, n := 0, c.often("routers", 3); i < n; i++ {
		r := w.Router(fmt.Sprint("r", i))
		if i == 0 {
			w.Link(left, r, LinkConfig{MTU: mtu})
			left = r
		} else {
			w.Link(r, right, LinkConfig{MTU: mtu})
			right = r
		}
	}
	t.bad = w.Link(left, right, LinkConfig{MTU: mtu, There: t.way("ab"), Back: t.way("ba")})
	t.there, t.back = t.bad.There, t.bad.Back
}

// gentle takes away what a scenario does without.
func (t *trial) gentle(change func(*emul.Config)) {
	for _, w := range []*Way{t.there, t.back} {
		c := w.Config()
		change(&c)
		w.Set(c)
	}
}

// size chooses how many bytes to send.
func (t *trial) size(name string) int {
	return one(t.choices, name, 10_000, 1, 0, 100, 1460, 3000, 50_000, 100_000, 300_000)
}

// manner chooses how an application writes and reads.
func (t *trial) manner(name string, p plan) plan {
	c := t.choices
	p.write = mostly(c, name+".write", 0, 10_000, 1460, 1000, 100)
	p.writeGap = rarely(c, name+".writegap", 0, time.Microsecond, time.Millisecond, 50*time.Millisecond)
	p.read = mostly(c, name+".read", 0, 10_000, 1000, 100)
	p.drains = c.pick(name+".drains", 2) == 1
	p.cork = rarely(c, name+".cork", false, true)
	p.flags = rarely(c, name+".flags", 0, tcp.MoreToCome, tcp.Urgent)
	p.buffer = rarely(c, name+".buffer", 0, 4<<10, 64<<10, 1<<20)
	p.readGap = rarely(c, name+".readgap", 0, time.Microsecond, time.Millisecond, 20*time.Millisecond)
	if small := min(orMost(p.write), orMost(p.read)); small < 1000 {
		p.writeGap, p.readGap = min(p.writeGap, time.Millisecond), min(p.readGap, time.Millisecond)
	}
	return p
}

func orMost(n int) int {
	if n == 0 {
		return 1 << 30
	}
	return n
}

// options chooses what a connection's end starts with.
func (t *trial) options(name string) *tcp.Options {
	return &tcp.Options{
		DeferAccept: rarely(t.choices, name+".defer", 0, 2*time.Second),
		Nagle:       rarely(t.choices, name+".nagle", false, true),
		MSS:         rarely(t.choices, name+".mss", 0, 256, 536, 1400),
		KeepAlive:   rarely(t.choices, name+".keepalive", tcp.KeepAlive{}, tcp.KeepAlive{Idle: time.Second, Interval: 5 * time.Second, Count: 200}),
	}
}

// testPort is where b listens.
const testPort = 80

// talk opens a connection from a to b, the two of which have plans.
func (t *trial) talk(of, to plan) (client, server *talker) {
	client, server = t.world.talk(of), t.world.talk(to)
	server.server = t.b
	t.talkers = append(t.talkers, client, server)
	_, err := t.b.Listen(testPort, ListenOptions{TCP: t.options("b"), FastOpen: t.fastOpen(), Keys: t.keys(), Accept: func(c *Conn) {
		if server.conn != nil {
			c.Abort() // a late segment of the connection, with a cookie that is still good
			return
		}
		server.conn, server.accepted, c.App = c, true, server.app
		if t.opened != nil {
			t.opened()
		}
	}})
	if err != nil {
		t.world.Fail("listen: %w", err)
	}
	t.dial(t.a, t.b, DialOptions{TCP: t.options("a")}, client)
	return client, server
}

// fastOpen is how many Fast Open requests listeners take.
func (t *trial) fastOpen() int {
	n := rarely(t.choices, "fastopen", 0, 1000, 1)
	// A SYN that comes again after the end makes another connection (RFC 7413 §2.1), of which the client knows nothing.
	t.echoes = t.echoes || n > 0 && t.duplicates
	return n
}

// keys are those of all connections, by TCP-MD5 or TCP-AO. A middle that changes headers would make what is signed worthless.
func (t *trial) keys() *auth.Keys {
	if t.there != nil && t.there.Meddle != nil || t.back != nil && t.back.Meddle != nil {
		return nil
	}
	secret := []byte("a secret of all")
	md5 := &auth.Keys{MD5: []auth.MD5Key{{Key: secret}}, AcceptICMP: true}
	ao := &auth.Keys{AO: []auth.AOKey{{SendID: 1, RecvID: 1, Key: secret}}, AcceptICMP: true}
	return rarely(t.choices, "keys", nil, md5, ao)
}

// listen lets a host take connections, each of which carries out a plan.
func (t *trial) listen(h *Host, p plan) *Listener {
	l, err := h.Listen(testPort, ListenOptions{TCP: t.options(h.Name), Backlog: t.backlog, FastOpen: t.fastOpen(), Keys: t.keys(), Accept: func(c *Conn) {
		k := t.world.talk(p)
		k.conn, k.accepted, k.server = c, true, h
		t.talkers = append(t.talkers, k)
		c.App = k.app
	}})
	if err != nil {
		t.world.Fail("listen: %w", err)
	}
	return l
}

// dial opens a connection for a talker.
func (t *trial) dial(from, to *Host, o DialOptions, k *talker) {
	if o.LocalPort == 0 { // else both ends dial
		k.server = to
	}
	o.Keys = t.keys()
	o.IPv6, o.App, o.FastOpen = t.v6, k.app, t.fastOpen() > 0 && o.LocalPort == 0
	c, err := from.Dial(to, testPort, o)
	if err != nil {
		t.world.Fail("dial: %w", err)
		return
	}
	k.conn = c
}
