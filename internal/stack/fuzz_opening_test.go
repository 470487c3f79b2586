package stack

import (
	"net/netip"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/auth"
	"github.com/weirnet/weir/wire"
)

// ways are what a hostile has for the ways to open a connection: listeners that share a port and come and go, listeners with keys, and
// peers that sign.
type ways struct {
	group  [2]*Listener
	signed [2]*Listener // TCP-MD5, TCP-AO
	keys   [2]*auth.Keys
	peers  [4]*auth.Guard // two of each kind
}

// hostileGroup is where the group listens.
var hostileGroup = port("192.0.2.1:81")

func (h *hostile) listenMore(make func() *TCP) {
	o := &h.ways
	o.keys = [2]*auth.Keys{signings()["MD5"][0], signings()["SHA-1"][0]}
	for i := range o.signed {
		l, err := h.ListenTCP(netip.AddrPortFrom(hostileGroup.Addr(), 179+uint16(i)), ListenOptions{Make: make, Keys: o.keys[i]})
		if err != nil {
			h.t.Fatal(err)
		}
		o.signed[i] = l
	}
	for i := range o.peers {
		o.peers[i] = auth.NewGuard(o.keys[i%2], h.signer(i), o.signed[i%2].Addr())
	}
	h.makeTCP = make
	h.regroup(0, 0)
	h.regroup(1, 0)
}

func (h *hostile) signer(i int) netip.AddrPort {
	return netip.AddrPortFrom(addr("192.0.2.9"), 9000+uint16(i))
}

// regroup has one of the group close, if it is open, and open anew.
func (h *hostile) regroup(i int, what byte) {
	l := &h.ways.group[i]
	if *l != nil {
		_ = (*l).Close()
	}
	o := ListenOptions{Make: h.makeTCP, ReusePort: true, FastOpen: int(what % 3), TCP: &tcp.Options{ReceiveBuffer: int(what) << 12}}
	if what&8 != 0 {
		o.TCP.DeferAccept = time.Duration(what) * time.Second
	}
	*l, _ = h.ListenTCP(hostileGroup, o)
}

// openStep does one thing about openings.
func (h *hostile) openStep(d *tap, next func() byte, data string) {
	o := &h.ways
	what := next()
	switch i := int(what>>4) % 4; what % 8 {
	case 0, 1: // an answer with timestamps
		if len(h.seen) > 0 {
			if in := parse(h.seen[len(h.seen)-1-int(next()/16)%len(h.seen)]); in.proto == protoTCP {
				h.deliver(d, echo(in, next(), data), 0)
			}
		}
	case 2: // a SYN with all options, or with some
		src := netip.AddrPortFrom(addr("192.0.2.9"), 7000+uint16(next()%16))
		f := wire.TCPFields{SrcPort: src.Port(), DstPort: hostileGroup.Port() - uint16(i%2), Seq: uint32(next()) << 24, Flags: wire.SYN, Window: 65535}
		f.Options = &wire.TCPOptions{HasMSS: i > 0, MSS: uint16(next()) << 8, TS: i > 1, TSVal: uint32(next()) << 24, SACKPermitted: i > 2, HasWScale: true, WScale: what >> 4}
		if what&64 != 0 {
			f.Flags |= wire.ECE | wire.CWR
		}
		b := make([]byte, f.HeaderLen())
		wire.PutTCP(b, f)
		h.deliver(d, ipPacket(protoTCP, src.Addr(), hostileGroup.Addr(), append(b, data...), tcpChecksum), 0)
	case 3: // a SYN that is signed
		h.deliver(d, signed(o.peers[i], h.signer(i), o.signed[i%2].Addr(), wire.SYN, uint32(next()), 0, ""), 0)
	case 4, 5: // what a peer that signs answers to the last segment for it
		if in, ok := h.lastTo(h.signer(i)); ok {
			flags, seq, ack := wire.TCPFlags(wire.ACK), in.Ack(), in.Seq()+uint32(len(in)-in.DataOffset())
			if in.Flags()&(wire.SYN|wire.FIN) != 0 {
				ack++
			}
			if n := next(); n%4 == 0 {
				flags |= wire.FIN
			} else if n%16 == 1 {
				flags |= wire.RST
			}
			h.deliver(d, signedTS(o.peers[i], what&8 == 0, h.signer(i), o.signed[i%2].Addr(), flags, seq, ack, data), 0)
		}
	case 6:
		h.regroup(i%2, next())
	case 7: // keys change
		n := int(next())
		change := [...]tcp.KeyChange{
			auth.Replace(o.keys[i%2]), auth.Replace(nil), auth.SetMD5(auth.MD5Key{Key: []byte("new")}),
			auth.AddAO(auth.AOKey{Key: []byte("new"), SendID: uint8(n), RecvID: uint8(n)}),
		}[n%4]
		if n&64 != 0 {
			_ = o.signed[i%2].SetKeys(change)
			break
		}
		c := h.tcp[n%len(h.tcp)]
		if c.SetKeys(change) == nil {
			_ = c.UseAO(n, n)
		}
	}
}

// lastTo is the last segment that was seen to a peer.
func (h *hostile) lastTo(peer netip.AddrPort) (wire.TCP, bool) {
	for i := len(h.seen) - 1; i >= 0; i-- {
		in := parse(h.seen[i])
		if in.proto != protoTCP || in.dst != peer.Addr() {
			continue
		}
		if s, err := wire.ParseTCP(in.body, len(in.body)); err == nil && s.DstPort() == peer.Port() {
			return s, true
		}
	}
	return nil, false
}

// echo is answer with timestamps, and at times with the data behind what is missing.
func echo(in parsed, what byte, data string) []byte {
	s := in.tcp()
	var o wire.TCPOptions
	o.Parse(s.OptionBytes())
	f := wire.TCPFields{SrcPort: s.DstPort(), DstPort: s.SrcPort(), Seq: s.Ack(), Ack: s.Seq() + uint32(len(s)-s.DataOffset()), Flags: wire.ACK, Window: 65535}
	if s.Flags()&(wire.SYN|wire.FIN) != 0 {
		f.Ack++
	}
	if s.Flags()&(wire.SYN|wire.ACK) == wire.SYN {
		f.Flags, f.Seq = wire.SYN|wire.ACK, uint32(what)<<24
	}
	f.Options = &wire.TCPOptions{TS: true, TSVal: uint32(what) << 20, TSEcr: o.TSVal}
	switch what % 8 {
	case 1:
		f.Seq += uint32(what)
	case 2:
		f.Flags |= wire.FIN
	case 3:
		f.Options.TSEcr += uint32(what) << 8
	case 4:
		f.Flags |= wire.ECE
	}
	b := make([]byte, f.HeaderLen())
	wire.PutTCP(b, f)
	return ipPacket(protoTCP, in.dst, in.src, append(b, data...), tcpChecksum)
}
