package sim

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// watch looks at what one end of a connection sends and hears, and holds it to the rules for every sender, whatever its state. Numbers of
// the stream are 64 bits wide, with the SYN as 0.
type watch struct {
	host *Host
	key  tuple
	peer *watch // nil: not known yet

	iss, irs     uint32
	asked        uint32 // the number of the last SYN that came
	started      bool   // a SYN was sent: iss and syn are known
	paired       bool   // and the peer's was heard: irs is known
	syn          wire.TCPOptions
	top          int64      // the next number that was never sent
	acked        int64      // the peer's numbers that it has acknowledged
	edge         int64      // of the peer's numbers: the end of the window that it offers
	heard        int64      // of its own numbers: the end of the peer's window, the furthest that has arrived
	una          int64      // of its own numbers: acknowledged
	wl1, wl2     int64      // of the segment that window is from
	window       int64      // of its own numbers: the end of the peer's window as of RFC 9293 §3.10.7.4
	lastSent     sched.Time // when something that the peer must acknowledge was sent: SYN, data, FIN, or a probe
	arrivedBytes int64      // of IP packets, that it was sent
	conn         *Conn
	begun        bool // conn has taken the place of one before, and has sent nothing yet
}

// view is the headers of a TCP packet.
type view struct {
	src, dst netip.AddrPort
	tcp      wire.TCP
	size     int // of the IP packet
	payload  int
}

// parse reads the headers of a packet at bytes h; false if it is no whole TCP segment.
func (v *view) parse(h []byte, size int) bool {
	n, total := 0, 0
	var src, dst netip.Addr
	switch wire.IPVersion(h) {
	case 4:
		if len(h) < wire.IPv4MinLen {
			return false
		}
		v4 := wire.IPv4(h)
		if v4.Protocol() != wire.ProtoTCP || v4.IsFragment() {
			return false
		}
		n, total, src, dst = v4.HeaderLen(), v4.TotalLen(), v4.Src(), v4.Dst()
	case 6:
		if len(h) < wire.IPv6Len || wire.IPv6(h).NextHeader() != wire.ProtoTCP {
			return false
		}
		v6 := wire.IPv6(h)
		n, total, src, dst = wire.IPv6Len, v6.TotalLen(), v6.Src(), v6.Dst()
	default:
		return false
	}
	if total > size || n >= len(h) {
		return false
	}
	t, err := wire.ParseTCP(h[n:], total-n)
	if err != nil {
		return false
	}
	v.src, v.dst = netip.AddrPortFrom(src, t.SrcPort()), netip.AddrPortFrom(dst, t.DstPort())
	v.tcp, v.size, v.payload = t, total, total-n-t.DataOffset()
	return true
}

// length is SEG.LEN: data, SYN and FIN.
func (v *view) length() int64 {
	n := int64(v.payload)
	for _, f := range []wire.TCPFlags{wire.SYN, wire.FIN} {
		if v.tcp.Flags().Has(f) {
			n++
		}
	}
	return n
}

// maxHeaders is the IP and TCP headers with all options.
const maxHeaders = 60 + 60

// parseOutbound reads the headers that a stack has pushed.
func (v *view) parseOutbound(p *packet.Packet) bool {
	network, transport := p.Header(packet.Network), p.Header(packet.Transport)
	if len(transport) == 0 {
		return false // ICMP
	}
	// One was pushed before the other, into the same block.
	if cap(network) < len(network) || len(network) < wire.IPv4MinLen {
		return false
	}
	var both [maxHeaders]byte
	n := copy(both[:], network)
	n += copy(both[n:], transport)
	return v.parse(both[:n], p.Size())
}

// parseInbound reads the headers of a packet from a device.
func (v *view) parseInbound(p *packet.Packet) bool {
	size := p.Size()
	h, ok := p.Peek(min(size, maxHeaders))
	return ok && v.parse(h, size)
}

// sends looks at a segment that the host sends.
func (h *Host) sends(v *view) {
	h.trace(true, v)
	if h.config.Forward {
		return
	}
	w := h.watch(tuple{v.src, v.dst})
	if err := w.sends(v); err != nil {
		h.world.Fail("%s: %v > %v: %w", h.Name, v.src, v.dst, err)
	}
	w.touch()
}

// arrives looks at a packet that comes to the host.
func (h *Host) arrives(p *packet.Packet) {
	if h.config.Forward {
		return
	}
	var v view
	if !v.parseInbound(p) || h.world.corrupts && !v.intact(p) {
		return
	}
	h.trace(false, &v)
	w := h.watch(tuple{v.dst, v.src})
	w.arrivedBytes += int64(v.size)
	w.hears(&v)
	w.touch()
}

// intact verifies the checksums.
func (v *view) intact(p *packet.Packet) bool {
	n := v.size - len(v.tcp) - v.payload
	if v.src.Addr().Is4() {
		h, _ := p.Peek(n)
		if !wire.IPv4(h).VerifyChecksum() {
			return false
		}
	}
	sum := checksum.PseudoHeader(v.src.Addr(), v.dst.Addr(), uint8(wire.ProtoTCP), v.size-n)
	return checksum.Combine(sum, 0, p.Sum(n)) == 0xffff && p.Size() == v.size
}

// watch returns the watch of a connection.
func (h *Host) watch(k tuple) *watch {
	if h.last != nil && h.lastKey == k {
		return h.last
	}
	w := h.watches[k]
	if w == nil {
		w = &watch{host: h, key: k}
		h.watches[k] = w
		if far := h.world.hostOf(k.remote.Addr()); far != nil {
			if w.peer = far.watches[tuple{k.remote, k.local}]; w.peer != nil {
				w.peer.peer = w
			}
		}
	}
	h.last, h.lastKey = w, k
	return w
}

// hostOf is the host with an address, nil if there is none.
func (w *World) hostOf(a netip.Addr) *Host {
	for _, h := range w.hosts {
		for _, p := range h.ports {
			if p.addr4 == a || p.addr6 == a {
				return h
			}
		}
	}
	return nil
}

// touch has the connection checked after the step.
func (w *watch) touch() {
	if w.conn != nil {
		w.conn.touch()
	}
}

// scale is the shift of the windows that it sends.
func (w *watch) scale() uint8 {
	if w.syn.HasWScale && w.peer.syn.HasWScale {
		return min(w.syn.WScale, 14)
	}
	return 0
}

// wide makes 64 bits of a sequence number near the reference.
func wide(s, iss uint32, reference int64) int64 {
	return reference + int64(int32(s-iss-uint32(reference)))
}

// certain reports whether both ends have begun the same connection: of what belongs to an older one with the same addresses, or to an
// earlier SYN cookie, nothing is known.
func (w *watch) certain() bool {
	return w.peer != nil && w.knows(w.peer) && (!w.peer.paired || w.peer.knows(w))
}

// knows reports whether w has begun a connection with what its peer began.
func (w *watch) knows(peer *watch) bool {
	return w.started && w.paired && peer.started && peer.iss == w.irs
}

// sends checks a segment that the end sends.
func (w *watch) sends(v *view) error {
	flags := v.tcp.Flags()
	if flags&wire.RST != 0 {
		return nil
	}
	if flags&wire.SYN != 0 {
		w.begin(v)
	}
	if flags&wire.ACK != 0 && w.certain() {
		if err := w.acknowledges(v); err != nil {
			return err
		}
	}
	if !w.started {
		return nil
	}
	return w.sendsData(v)
}

// begin takes a SYN or SYN-ACK.
func (w *watch) begin(v *view) {
	if !w.started || v.tcp.Seq() != w.iss {
		*w = watch{host: w.host, key: w.key, peer: w.peer, conn: w.conn, arrivedBytes: w.arrivedBytes, asked: w.asked}
		w.started, w.iss = true, v.tcp.Seq()
		w.irs, w.paired = w.asked, v.tcp.Flags()&wire.ACK != 0
	}
	w.syn = wire.TCPOptions{}
	w.syn.Parse(v.tcp.OptionBytes())
}

// acknowledges checks the ACK and the window of a segment that the end sends.
func (w *watch) acknowledges(v *view) error {
	ack := wide(v.tcp.Ack(), w.irs, w.acked)
	if ack > w.peer.top {
		return fmt.Errorf("acknowledges %d, of which %d were sent", ack, w.peer.top)
	}
	if ack < w.acked && w.forgot(v) {
		w.acked, w.edge = ack, 0
	}
	w.begun = false
	if ack < w.acked {
		return fmt.Errorf("acknowledges %d after %d", ack, w.acked)
	}
	w.acked = ack
	shift := w.scale()
	if v.tcp.Flags()&wire.SYN != 0 {
		shift = 0
	}
	edge := ack + int64(v.tcp.Window())<<shift
	// RFC 7323 §2.4: what the shift of the window field cuts off may pull the edge back by less than its unit.
	if edge <= w.edge-1<<w.scale() {
		return fmt.Errorf("shrinks the window by %d bytes", w.edge-edge)
	}
	w.edge = max(w.edge, edge)
	return nil
}

// forgot reports whether a segment may be of a host that has forgotten the connection and begun it anew, with the same numbers: by a SYN
// cookie, or by a duplicate of a SYN that has a Fast Open cookie and comes after the end (RFC 7413 §2.1: a server takes it again). Then
// its own number is another one (RFC 6528 §3), unless all that happens within 4 µs; but here it may happen at one instant. Only a new
// connection answers with a SYN when the last one was acknowledged. Nobody forgets a connection that is there: the one before must be over.
func (w *watch) forgot(v *view) bool {
	if w.conn != nil && !w.begun && !w.conn.ended() {
		return false
	}
	return w.host.cookies || w.host.fastOpens && w.una > 0 && v.tcp.Flags()&wire.SYN != 0
}

// sendsData checks the place of a segment that the end sends, and its size.
func (w *watch) sendsData(v *view) error {
	flags := v.tcp.Flags()
	begin := wide(v.tcp.Seq(), w.iss, w.top)
	size := int64(v.payload)
	end := begin + size
	if flags&wire.SYN != 0 {
		end++
	}
	certain := w.certain()
	if certain && begin > w.top {
		return fmt.Errorf("a gap: sends from %d after %d", begin, w.top)
	}
	beyond := end - w.heard
	// One byte may probe a closed window (RFC 9293 §3.8.6.1); data on a SYN goes before any window is known (RFC 7413 §4.2).
	if certain && size > 0 && beyond > 0 && !(size == 1 && beyond == 1) && flags&wire.SYN == 0 && end > w.top {
		return fmt.Errorf("sends up to %d, %d bytes beyond the window", end, beyond)
	}
	if beyond := end - w.window; certain && w.host.world.orderly && end > max(w.top, 1) && beyond > 0 && size > 1 {
		return fmt.Errorf("sends up to %d for the first time, %d bytes beyond the window since it was taken back", end, beyond)
	}
	if most := int64(w.peerMSS()); certain && flags&wire.SYN == 0 && size > most-int64(len(v.tcp.OptionBytes())) {
		return fmt.Errorf("%d bytes with %d of options, and an MSS of %d (RFC 6691)", size, len(v.tcp.OptionBytes()), most)
	}
	if flags&wire.FIN != 0 {
		end++
	}
	if end > begin || begin < w.top {
		w.lastSent = w.host.world.clock.Now()
	}
	w.top = max(w.top, end)
	return nil
}

// peerMSS is what the peer takes in one segment.
func (w *watch) peerMSS() int {
	if w.peer == nil || !w.peer.syn.HasMSS {
		return 536
	}
	return int(w.peer.syn.MSS)
}

// hears takes a segment that arrives at the end.
func (w *watch) hears(v *view) {
	flags := v.tcp.Flags()
	if flags&wire.RST != 0 {
		return
	}
	if flags&wire.SYN != 0 {
		if flags&wire.ACK == 0 {
			w.asked = v.tcp.Seq()
		}
		if w.started && !w.paired {
			w.irs, w.paired = v.tcp.Seq(), true
		}
	}
	if flags&wire.ACK == 0 || !w.certain() {
		return
	}
	shift := w.peer.scale()
	if flags&wire.SYN != 0 {
		shift = 0
	}
	ack, seq := wide(v.tcp.Ack(), w.iss, w.top), wide(v.tcp.Seq(), w.irs, w.acked)
	if seq+v.length() < w.acked {
		// It ends before RCV.NXT: "If an incoming segment is not acceptable, an acknowledgment should be sent in reply …, drop the
		// segment" (RFC 9293 §3.10.7.4), and with it its window. Keepalives are such.
		return
	}
	edge := ack + int64(v.tcp.Window())<<shift
	w.heard = max(w.heard, edge)
	if ack > w.una || ack == w.una && (seq > w.wl1 || seq == w.wl1 && ack >= w.wl2) {
		w.una, w.wl1, w.wl2, w.window = ack, seq, ack, edge
	}
}

// Event is a packet that leaves a host or reaches one.
type Event struct {
	At       time.Duration
	Host     string
	Leaves   bool // else it arrives
	Src, Dst netip.AddrPort
	Flags    wire.TCPFlags
	Seq, Ack tcp.Seq // as on the wire
	Window   uint16
	Payload  int // bytes
	Options  wire.TCPOptions
}

// String is the event in a line.
func (e Event) String() string {
	way := "<"
	if e.Leaves {
		way = ">"
	}
	return fmt.Sprintf("%12.6f %s %s %v > %v %v seq %d len %d ack %d win %d %v", e.At.Seconds(), e.Host, way, e.Src, e.Dst, e.Flags, e.Seq,
		e.Payload, e.Ack, e.Window, optionsText(&e.Options))
}

// optionsText is the options that tell how it goes.
func optionsText(o *wire.TCPOptions) (s string) {
	for _, b := range o.SACKBlocks() {
		s += fmt.Sprintf(" sack %d:%d", b.Left, b.Right)
	}
	return s
}

func (h *Host) trace(leaves bool, v *view) {
	if h.world.config.Trace != nil {
		h.world.config.Trace(h.event(leaves, v))
	}
}

func (h *Host) event(leaves bool, v *view) Event {
	e := Event{At: h.world.Now(), Host: h.Name, Leaves: leaves, Src: v.src, Dst: v.dst, Flags: v.tcp.Flags(), Seq: tcp.Seq(v.tcp.Seq()),
		Ack: tcp.Seq(v.tcp.Ack()), Window: v.tcp.Window(), Payload: v.payload}
	e.Options.Parse(v.tcp.OptionBytes())
	return e
}
