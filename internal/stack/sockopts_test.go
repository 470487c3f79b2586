package stack

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/auth"
	"github.com/weirnet/weir/wire"
)

// ipFields are TTL, TOS and flow label of a packet.
func ipFields(b []byte) (ttl, tos uint8, label uint32) {
	if wire.IPVersion(b) == 4 {
		return wire.IPv4(b).TTL(), wire.IPv4(b).TOS(), 0
	}
	return wire.IPv6(b).HopLimit(), wire.IPv6(b).TrafficClass(), wire.IPv6(b).FlowLabel()
}

// withTTL changes the TTL of a packet.
func withTTL(b []byte, ttl uint8) []byte {
	if wire.IPVersion(b) == 6 {
		wire.IPv6(b).SetHopLimit(ttl)
		return b
	}
	wire.IPv4(b).SetTTL(ttl)
	wire.IPv4(b).SetChecksum(wire.IPv4(b).ComputeChecksum())
	return b
}

// What a socket asks of IP holds from the first packet to the last: SYN-ACK, data, and what its TIME-WAIT record says. The ECN bits are
// not the socket's to set.
func TestTraffic(t *testing.T) {
	for _, family := range []struct{ local, remote string }{{"192.0.2.1", "192.0.2.9"}, {"[2001:db8::1]", "[2001:db8::9]"}} {
		h := newHost(t, Config{})
		_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24", "2001:db8::1/64")
		check := func(what string, b []byte) {
			t.Helper()
			if ttl, tos, _ := ipFields(b); ttl != 7 || tos != 0xb8 {
				t.Errorf("%s: TTL %d, TOS %#x; want 7, 0xb8", what, ttl, tos)
			}
		}
		_, accept := h.listenTCP(family.local+":80", ListenOptions{Traffic: Traffic{TTL: 7, TOS: 0xbb}})
		p := &peer{t: t, d: d, src: port(family.remote + ":4000"), dst: port(family.local + ":80"), seq: 1000}
		p.send(wire.SYN, "")
		b := d.one(t)
		check("SYN-ACK", b)
		p.seq++
		p.ack = parse(b).tcp().Seq() + 1
		p.send(wire.ACK, "")
		c := accept()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		check("data", d.one(t))
		p.ack++
		p.send(wire.ACK, "")
		_ = c.CloseWrite()
		check("FIN", d.one(t))
		p.ack++
		p.send(wire.FIN|wire.ACK, "")
		check("ACK of the FIN", d.one(t))
		p.send(wire.FIN|wire.ACK, "")
		check("TIME-WAIT's answer", d.one(t))
		_ = c.Close()

		c, _ = h.connect(d, family.remote+":80", Bound{})
		if err := c.SetTraffic(func(tr *Traffic) { tr.TTL, tr.TOS = 7, 0xb8 }); err != nil || c.Traffic().TTL != 7 {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("x"))
		check("data after a change", d.one(t))

		u, _ := h.connectUDP(family.remote+":53", Bound{Traffic: Traffic{TTL: 7, TOS: 0xb8}})
		_ = u.Write([]byte("x"))
		check("a datagram", d.one(t))
		u.SetTraffic(func(tr *Traffic) { tr.TOS = 0xb9 })
		_ = u.Write([]byte("x"))
		if _, tos, _ := ipFields(d.one(t)); tos != 0xb9 {
			t.Errorf("a datagram has TOS %#x: its ECN bits are the program's", tos)
		}
	}
}

// RFC 6437: a flow keeps its label, flows have different ones; after a timeout it is another (as with Linux).
func TestFlowLabel(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "2001:db8::1/64")
	label := func() uint32 {
		t.Helper()
		_, _, l := ipFields(d.one(t))
		return l
	}
	c := newSocket(&app{})
	if err := h.ConnectTCP(c, port("[2001:db8::9]:80"), Bound{}); err != nil {
		t.Fatal(err)
	}
	syn := label()
	h.clock.Advance(time.Second)
	again := label()
	if syn == 0 || again == 0 || syn == again {
		t.Errorf("SYN %#x, after its timeout %#x", syn, again)
	}
	_, p2 := h.connect(d, "[2001:db8::9]:80", Bound{})
	p2.send(wire.ACK|wire.PSH, "x")
	one := label()
	p2.send(wire.ACK|wire.PSH, "y")
	if two := label(); one == 0 || one != two || one == again {
		t.Errorf("two segments of a flow have %#x and %#x, another flow %#x", one, two, again)
	}
	h.listenTCP("[2001:db8::1]:81", ListenOptions{Traffic: Traffic{FlowLabel: 0x12345}})
	h.listenTCP("[2001:db8::1]:82", ListenOptions{Traffic: Traffic{FlowLabel: NoFlowLabel}})
	for port80, want := range map[string]uint32{"81": 0x12345, "82": 0} {
		p := &peer{t: t, d: d, src: port("[2001:db8::9]:4000"), dst: port("[2001:db8::1]:" + port80), seq: 1000}
		p.send(wire.SYN, "")
		if got := label(); got != want {
			t.Errorf("port %s: flow label %#x, want %#x", port80, got, want)
		}
	}
	u, _ := h.openUDP("[::]:53", ListenOptions{})
	var labels []uint32
	for _, to := range []string{"[2001:db8::9]:1", "[2001:db8::9]:1", "[2001:db8::9]:2"} {
		if err := u.WriteTo([]byte("x"), port(to)); err != nil {
			t.Fatal(err)
		}
		labels = append(labels, label())
	}
	if labels[0] == 0 || labels[0] != labels[1] || labels[0] == labels[2] {
		t.Errorf("datagrams to one place, again, and to another: %#x", labels)
	}
}

// RFC 5082: what comes from too far away is dropped, of connections, listeners and datagrams, and counted.
func TestMinTTL(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24", "2001:db8::1/64")
	for _, family := range []struct{ local, remote string }{{"192.0.2.1", "192.0.2.9"}, {"[2001:db8::1]", "[2001:db8::9]"}} {
		before := h.Stats().TCP.MinTTLDrops
		_, accept := h.listenTCP(family.local+":179", ListenOptions{Traffic: Traffic{MinTTL: 255}})
		src, dst := port(family.remote+":4000"), port(family.local+":179")
		d.inject(tcpPacket(src, dst, wire.SYN, 1000, 0, "")) // TTL 64
		if n := len(d.take()); n != 0 {
			t.Errorf("a SYN from far away is answered by %d packets", n)
		}
		d.inject(withTTL(tcpPacket(src, dst, wire.SYN, 1000, 0, ""), 255))
		ack := parse(d.one(t)).tcp().Seq() + 1
		d.inject(tcpPacket(src, dst, wire.ACK, 1001, ack, ""))
		d.inject(withTTL(tcpPacket(src, dst, wire.ACK, 1001, ack, ""), 255))
		c := accept()
		d.inject(withTTL(tcpPacket(src, dst, wire.ACK|wire.PSH, 1001, ack, "far"), 254))
		d.inject(tcpPacket(src, dst, wire.RST, 1001, 0, ""))
		if c.Info().BytesReceived != 0 || c.Info().State != tcp.Established {
			t.Error("what came from far away was taken")
		}
		d.inject(withTTL(tcpPacket(src, dst, wire.ACK|wire.PSH, 1001, ack, "near"), 255))
		if n := c.Info().BytesReceived; n != 4 {
			t.Errorf("%d bytes received", n)
		}
		d.take()
		u, _ := h.openUDP(family.local+":3784", ListenOptions{Traffic: Traffic{MinTTL: 255}})
		d.inject(udpPacket(src, port(family.local+":3784"), "far"))
		d.inject(withTTL(udpPacket(src, port(family.local+":3784"), "near"), 255))
		if data, _ := readUDP(t, u); data != "near" {
			t.Errorf("%q was received", data)
		}
		if n := h.Stats().TCP.MinTTLDrops - before; n != 5 {
			t.Errorf("%d drops counted, want 5", n)
		}
	}
}

// SO_REUSEPORT: connections spread over the group, each flow keeps to its listener, and only those of a listener that goes change.
func TestReusePort(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	open := func() (*Listener, func() *TCP) {
		return h.listenTCP("192.0.2.1:80", ListenOptions{ReusePort: true})
	}
	var ls []*Listener
	for range 3 {
		l, _ := open()
		ls = append(ls, l)
	}
	if _, err := h.ListenTCP(port("192.0.2.1:80"), ListenOptions{}); err != syscall.EADDRINUSE {
		t.Errorf("a listener without SO_REUSEPORT beside them: %v", err)
	}
	takes := func(i int) *Listener {
		l, _ := h.binds.find(protoTCP, port("192.0.2.1:80"), port(fmt.Sprintf("198.18.0.1:%d", 1000+i)), 1, false).(*Listener)
		return l
	}
	const flows = 3000
	count := map[*Listener]int{}
	for i := range flows {
		count[takes(i)]++
	}
	for _, l := range ls {
		if n := count[l]; n < flows/3*8/10 || n > flows/3*12/10 {
			t.Errorf("a listener of three has %d of %d flows", n, flows)
		}
	}
	before := make([]*Listener, flows)
	for i := range before {
		before[i] = takes(i)
	}
	_ = ls[1].Close()
	for i, l := range before {
		if now := takes(i); l != ls[1] && now != l || now == ls[1] {
			t.Fatalf("flow %d changed hands", i)
		}
	}
	// Handshakes and what waits to be accepted go to the heirs.
	var opening, waiting []*peer
	for i := range 20 {
		src := fmt.Sprintf("192.0.2.9:%d", 5000+i)
		if i%2 == 0 {
			waiting = append(waiting, h.dial(d, src, "192.0.2.1:80"))
			continue
		}
		p := &peer{t: t, d: d, src: port(src), dst: port("192.0.2.1:80"), seq: 1000}
		p.send(wire.SYN, "")
		p.seq++
		p.receive()
		opening = append(opening, p)
	}
	_ = ls[0].Close()
	for _, p := range opening {
		p.send(wire.ACK, "")
	}
	if n := len(d.take()); n != 0 {
		t.Errorf("%d packets when a listener of the group was closed: RSTs?", n)
	}
	for range len(opening) + len(waiting) {
		c, err := ls[2].Accept()
		if err != nil {
			t.Fatalf("a connection is lost: %v", err)
		}
		_ = c.Abort()
	}
	d.take()
	// The last one has no heir: RST.
	p := h.dial(d, "192.0.2.9:6000", "192.0.2.1:80")
	_ = ls[2].Close()
	if f := p.receive().Flags(); !f.Has(wire.RST) {
		t.Errorf("%v after the last listener is closed", f)
	}
	for _, l := range ls {
		if n := l.opening.Load(); n != 0 {
			t.Errorf("%d handshakes are counted for a closed listener", n)
		}
	}
}

// UDP sockets that share a port: each flow has one of them, and what one has not read when it is closed is the others'.
func TestReusePortUDP(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	a, _ := h.openUDP("192.0.2.1:53", ListenOptions{ReusePort: true})
	b, _ := h.openUDP("192.0.2.1:53", ListenOptions{ReusePort: true})
	const n = 64
	for i := range n {
		d.inject(udpPacket(netip.AddrPortFrom(addr("192.0.2.9"), uint16(1000+i)), port("192.0.2.1:53"), fmt.Sprint(i)))
	}
	inA := a.in.n
	if inA < n/4 || inA > n*3/4 || inA+b.in.n != n {
		t.Errorf("%d and %d of %d datagrams", inA, b.in.n, n)
	}
	_ = a.Close()
	seen := map[string]netip.AddrPort{}
	for {
		data, src := readUDP(t, b)
		if data == "" {
			break
		}
		seen[data] = src
	}
	for i := range n {
		if got := seen[fmt.Sprint(i)].Port(); int(got) != 1000+i {
			t.Errorf("datagram %d: from port %d", i, got)
		}
	}
	if used := h.Stats().MemoryUsed; used != 0 {
		t.Errorf("%d bytes are charged", used)
	}
}

// SO_REUSEADDR and SO_REUSEPORT decide about conflicts as on Linux.
func TestReuseConflicts(t *testing.T) {
	plain, addrs, ports := [2]bool{}, [2]bool{true, false}, [2]bool{false, true}
	for _, c := range []struct {
		proto wire.Protocol
		a, b  [2]bool // SO_REUSEADDR, SO_REUSEPORT
		want  bool
	}{
		{protoTCP, plain, plain, true}, {protoTCP, addrs, addrs, true}, {protoTCP, ports, plain, true}, {protoTCP, ports, ports, false},
		{protoUDP, plain, plain, true}, {protoUDP, addrs, addrs, false}, {protoUDP, addrs, plain, true}, {protoUDP, ports, ports, false},
		{protoUDP, addrs, ports, true},
	} {
		for _, second := range []string{"192.0.2.1:53", "0.0.0.0:53"} {
			var table bindTable
			x := &bind{proto: c.proto, addr: port("192.0.2.1:53"), reuseAddr: c.a[0], reusePort: c.a[1]}
			y := &bind{proto: c.proto, addr: port(second), family: IPv4, reuseAddr: c.b[0], reusePort: c.b[1]}
			_ = table.insert(x, false)
			if err := table.insert(y, false); (err == syscall.EADDRINUSE) != c.want {
				t.Errorf("protocol %d, %v beside %v, %s: %v", c.proto, c.a, c.b, second, err)
			}
		}
	}
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{})
	h.dial(d, "192.0.2.9:4000", "192.0.2.1:80")
	c := accept()
	h.StopListening()
	if _, err := h.ListenTCP(port("192.0.2.1:80"), ListenOptions{Exclusive: true}); err != syscall.EADDRINUSE {
		t.Errorf("without SO_REUSEADDR, on the port of a connection: %v", err)
	}
	if _, err := h.ListenTCP(port("192.0.2.1:81"), ListenOptions{Exclusive: true}); err != nil {
		t.Errorf("on another port: %v", err)
	}
	if _, err := h.ListenTCP(port("0.0.0.0:80"), ListenOptions{Family: IPv4}); err != nil {
		t.Errorf("with SO_REUSEADDR: %v", err)
	}
	_ = c.Abort()
	// Of UDP sockets with one address, the last one is delivered to.
	first, _ := h.openUDP("192.0.2.1:53", ListenOptions{ReuseAddr: true})
	last, _ := h.openUDP("192.0.2.1:53", ListenOptions{ReuseAddr: true})
	d.inject(udpPacket(port("192.0.2.9:1"), port("192.0.2.1:53"), "x"))
	if data, _ := readUDP(t, last); data != "x" || first.in.n != 0 {
		t.Errorf("the last socket has %q", data)
	}
	// Dials share a port with whom they share the option.
	if err := h.ConnectUDP(&UDP{}, port("192.0.2.9:1"), Bound{Local: port("192.0.2.1:53")}); err != syscall.EADDRINUSE {
		t.Error(err)
	}
	if err := h.ConnectUDP(&UDP{}, port("192.0.2.9:1"), Bound{Local: port("192.0.2.1:53"), ReuseAddr: true}); err != nil {
		t.Error(err)
	}
}

// signed is a segment of a peer that signs.
func signed(g *auth.Guard, src, dst netip.AddrPort, flags wire.TCPFlags, seq, ack uint32, data string) []byte {
	o := wire.TCPOptions{}
	if flags.Has(wire.SYN) {
		o.HasMSS, o.MSS, o.SACKPermitted, o.TS, o.TSVal = true, 1400, true, true, 1
	}
	if g != nil {
		g.Prepare(&o)
	}
	f := wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Seq: seq, Ack: ack, Flags: flags, Window: 65535, Options: &o}
	b := make([]byte, f.HeaderLen())
	wire.PutTCP(b, f)
	if g != nil {
		var payload buffer.Buffer
		payload.SetPool(buffer.NewPool(buffer.Options{}))
		payload.Append([]byte(data))
		g.Sign(tcp.SignedSegment{Src: src.Addr(), Dst: dst.Addr(), Header: b, Payload: &payload})
		payload.Clear()
	}
	return ipPacket(protoTCP, src.Addr(), dst.Addr(), append(b, data...), tcpChecksum)
}

// good verifies what the stack has sent.
func good(t *testing.T, g *auth.Guard, b []byte) wire.TCP {
	t.Helper()
	p := parse(b)
	h, err := wire.ParseTCP(p.body, len(p.body))
	if err != nil {
		t.Fatal(err)
	}
	var o wire.TCPOptions
	o.Parse(h.OptionBytes())
	var payload buffer.Buffer
	payload.SetPool(buffer.NewPool(buffer.Options{}))
	payload.Append(p.body[len(h):])
	if v := g.Verify(tcp.SignedSegment{Src: p.src, Dst: p.dst, Header: h, Payload: &payload}, &o); v != tcp.SignatureGood {
		t.Errorf("%v seq %d is not signed well: %d", h.Flags(), h.Seq(), v)
	}
	payload.Clear()
	return h
}

// signings are both kinds of keys, and a second set with another secret.
func signings() map[string][2]*auth.Keys {
	md5 := func(s string) *auth.Keys { return &auth.Keys{MD5: []auth.MD5Key{{Key: []byte(s)}}} }
	ao := func(s string, a auth.Algorithm) *auth.Keys {
		return &auth.Keys{AO: []auth.AOKey{{Key: []byte(s), SendID: 5, RecvID: 5, Algorithm: a}}}
	}
	return map[string][2]*auth.Keys{
		"MD5": {md5("right"), md5("wrong")}, "SHA-1": {ao("right", auth.HMACSHA1), ao("wrong", auth.HMACSHA1)},
		"CMAC": {ao("right", auth.AESCMAC), ao("wrong", auth.AESCMAC)}, "SHA-256": {ao("right", auth.HMACSHA256), ao("wrong", auth.HMACSHA256)},
	}
}

// A listener with keys: SYN, SYN-ACK, data, FIN and TIME-WAIT are signed; what is not signed, or wrongly, is dropped in every state.
func TestSignedPassive(t *testing.T) {
	for name, keys := range signings() {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Config{})
			_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
			src, dst := port("192.0.2.9:179"), port("192.0.2.1:179")
			_, accept := h.listenTCP("192.0.2.1:179", ListenOptions{Keys: keys[0]})
			g, bad := auth.NewGuard(keys[0], src, dst), auth.NewGuard(keys[1], src, dst)
			refuse := func(what string, flags wire.TCPFlags, seq, ack uint32) {
				t.Helper()
				d.inject(signed(nil, src, dst, flags, seq, ack, ""))
				d.inject(signed(bad, src, dst, flags, seq, ack, ""))
				if n := len(d.take()); n != 0 {
					t.Errorf("%s: forged segments are answered by %d packets", what, n)
				}
			}
			refuse("LISTEN", wire.SYN, 1000, 0)
			refuse("LISTEN, an ACK", wire.ACK, 1000, 1)
			d.inject(signed(g, src, dst, wire.SYN, 1000, 0, ""))
			synAck := good(t, g, d.one(t))
			var o wire.TCPOptions
			o.Parse(synAck.OptionBytes())
			if crowded := name == "MD5" || name == "SHA-256"; o.TS == crowded || !o.SACKPermitted {
				t.Errorf("timestamps %v, SACK %v", o.TS, o.SACKPermitted)
			}
			ack := synAck.Seq() + 1
			refuse("SYN-RECEIVED", wire.ACK, 1001, ack)
			refuse("SYN-RECEIVED, a RST", wire.RST, 1001, 0)
			sendTS := func(flags wire.TCPFlags, seq, ack uint32, data string) []byte {
				return signedTS(g, o.TS, src, dst, flags, seq, ack, data)
			}
			d.inject(sendTS(wire.ACK, 1001, ack, ""))
			c := accept()
			refuse("ESTABLISHED, a RST", wire.RST, 1001, 0)
			if _, err := c.Write(make([]byte, 4000)); err != nil {
				t.Fatal(err)
			}
			for _, b := range d.take() {
				seg := good(t, g, b)
				if n := len(parse(b).body); n > 1400+wire.TCPMinLen {
					t.Errorf("a segment of %d bytes, MSS 1400", n)
				}
				ack = seg.Seq() + uint32(len(parse(b).body)-len(seg))
			}
			d.inject(sendTS(wire.ACK|wire.PSH, 1001, ack, "update"))
			d.take()
			if n := c.Info().BytesReceived; n != 6 {
				t.Errorf("%d bytes received", n)
			}
			_ = c.CloseWrite()
			good(t, g, d.one(t))
			buf := make([]byte, 9)
			_, _ = c.Read(buf)
			d.inject(sendTS(wire.FIN|wire.ACK, 1007, ack+1, ""))
			good(t, g, d.one(t))
			refuse("TIME-WAIT", wire.FIN|wire.ACK, 1007, ack+1)
			d.inject(sendTS(wire.FIN|wire.ACK, 1007, ack+1, ""))
			good(t, g, d.one(t))
			st := h.Stats().TCP
			if st.AuthMissing != 6 || st.AuthBad != 6 || st.AuthUnexpected != 0 {
				t.Errorf("counted: missing %d, bad %d, unexpected %d", st.AuthMissing, st.AuthBad, st.AuthUnexpected)
			}
		})
	}
}

// signedTS is signed with timestamps if they were agreed on.
func signedTS(g *auth.Guard, ts bool, src, dst netip.AddrPort, flags wire.TCPFlags, seq, ack uint32, data string) []byte {
	if !ts {
		return signed(g, src, dst, flags, seq, ack, data)
	}
	o := wire.TCPOptions{TS: true, TSVal: 9}
	g.Prepare(&o)
	f := wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Seq: seq, Ack: ack, Flags: flags, Window: 65535, Options: &o}
	b := make([]byte, f.HeaderLen())
	wire.PutTCP(b, f)
	var payload buffer.Buffer
	payload.SetPool(buffer.NewPool(buffer.Options{}))
	payload.Append([]byte(data))
	g.Sign(tcp.SignedSegment{Src: src.Addr(), Dst: dst.Addr(), Header: b, Payload: &payload})
	payload.Clear()
	return ipPacket(protoTCP, src.Addr(), dst.Addr(), append(b, data...), tcpChecksum)
}

// A dial with keys signs its SYN, and believes nothing else; ICMP errors do not end it with TCP-AO (RFC 5925 §7.8).
func TestSignedActive(t *testing.T) {
	for name, keys := range signings() {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Config{})
			_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
			remote := port("192.0.2.9:179")
			c := newSocket(&app{})
			if err := h.ConnectTCP(c, remote, Bound{Keys: keys[0]}); err != nil {
				t.Fatal(err)
			}
			local := c.LocalAddr()
			g, bad := auth.NewGuard(keys[0], remote, local), auth.NewGuard(keys[1], remote, local)
			raw := d.one(t)
			syn := good(t, g, raw)
			iss := syn.Seq()
			for _, who := range []*auth.Guard{nil, bad} {
				d.inject(signed(who, remote, local, wire.SYN|wire.ACK, 5000, iss+1, ""))
				d.inject(signed(who, remote, local, wire.RST|wire.ACK, 0, iss+1, ""))
			}
			if n := len(d.take()); n != 0 || c.Connected() != ErrWouldBlock {
				t.Fatalf("%d packets, %v", n, c.Connected())
			}
			if keys[0].MD5 == nil {
				d.inject(icmpPacket(addr("192.0.2.9"), addr("192.0.2.1"), 3, 3, 0, raw[:28]))
				if c.Connected() != ErrWouldBlock {
					t.Error("an ICMP error ended the attempt")
				}
			}
			d.inject(signed(g, remote, local, wire.SYN|wire.ACK, 5000, iss+1, ""))
			good(t, g, d.one(t))
			if c.Connected() != nil {
				t.Error(c.Connected())
			}
			_ = c.Abort()
			if f := good(t, g, d.one(t)).Flags(); !f.Has(wire.RST) {
				t.Errorf("%v, want a RST", f)
			}
		})
	}
}

// A signed segment to nobody: with TCP-MD5 and a listener's key the RST is signed, else there is none.
func TestSignedReset(t *testing.T) {
	keys := signings()
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	src := port("192.0.2.9:1000")
	h.listenTCP("192.0.2.1:1", ListenOptions{Keys: keys["MD5"][0]})
	h.listenTCP("192.0.2.1:2", ListenOptions{Keys: keys["SHA-1"][0]})
	for _, c := range []struct {
		port string
		keys *auth.Keys
		want int
	}{
		{"192.0.2.1:1", keys["MD5"][0], 1}, {"192.0.2.1:1", keys["MD5"][1], 0}, {"192.0.2.1:2", keys["SHA-1"][0], 0},
		{"192.0.2.1:3", keys["MD5"][0], 0}, {"192.0.2.1:3", nil, 1}, {"192.0.2.1:1", nil, 0},
	} {
		g := auth.NewGuard(c.keys, src, port(c.port))
		d.inject(signed(g, src, port(c.port), wire.ACK, 10, 20, ""))
		all := d.take()
		if len(all) != c.want {
			t.Errorf("to %s: %d packets, want %d", c.port, len(all), c.want)
		} else if c.want == 1 && g != nil {
			good(t, g, all[0])
		}
	}
}

// Keys change while a connection is open.
func TestKeysOfOpenConnection(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	c, p := h.connect(d, "192.0.2.9:179", Bound{})
	md5 := signings()["MD5"][0]
	if err := c.SetKeys(auth.Replace(signings()["CMAC"][0])); err != syscall.EINVAL {
		t.Errorf("TCP-AO on an open connection: %v", err)
	}
	if err := c.UseAO(1, 1); err != syscall.ENOENT {
		t.Error(err)
	}
	before := c.Info().SendMSS
	if err := c.SetKeys(auth.Replace(md5)); err != nil {
		t.Fatal(err)
	}
	g := auth.NewGuard(md5, p.src, p.dst)
	_, _ = c.Write(make([]byte, 3000))
	for _, b := range d.take() {
		good(t, g, b)
	}
	if n := c.Info().SendMSS; n != before-20 {
		t.Errorf("MSS %d, before %d", n, before)
	}
	if err := c.SetKeys(auth.Replace(nil)); err != nil || c.Info().SendMSS != before {
		t.Error(err, c.Info().SendMSS)
	}
}
