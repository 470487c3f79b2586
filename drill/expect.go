package drill

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/wire"
)

// patience is for how long a line that may happen at any time is waited for: longer than any timer of TCP but those that a script asks for,
// and short enough that a host whose timers run and send nothing fails soon.
const patience = 4 * time.Hour

// expect waits for the next packet of the host, which must be the one of a line.
func (r *runner) expect(p *packetEvent, begin, end sched.Time) error {
	tolerance := r.script.set.tolerance
	limit := end.Add(tolerance)
	if r.event.when.anchor == anytime {
		limit = r.clock.Now().Add(patience)
	}
	for len(r.dev.sent) == 0 {
		ok, err := r.step(limit)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		err = r.mismatch("no packet came, expected one %s", whenText(begin, end))
		if limit < end {
			err = r.mismatch("no packet came in %v, expected one %s", patience, whenText(begin, end))
		}
		if r.script.set.anyPackets {
			r.last = begin
			return nil
		}
		return err
	}
	live := r.dev.sent[0]
	r.dev.sent = r.dev.sent[1:]
	problem := r.compare(p, live)
	if problem == "" && (live.at < begin.Add(-tolerance) || live.at > end.Add(tolerance)) && r.event.when.anchor != anytime {
		off := live.at.Sub(begin)
		if live.at > end {
			off = live.at.Sub(end)
		}
		problem = fmt.Sprintf("the packet came at %v, expected %s: %+.6f s off", seconds(live.at), whenText(begin, end), off.Seconds())
	}
	if problem != "" && !r.script.set.anyPackets {
		return r.mismatch("%s\n  actual: %v > %s", problem, seconds(live.at), r.describe(live.bytes, nil, false))
	}
	r.last = begin
	if begin != end {
		r.last = live.at
	}
	return nil
}

func whenText(begin, end sched.Time) string {
	switch {
	case end == sched.Never:
		return "at any time"
	case begin == end:
		return "at " + seconds(begin).String()
	}
	return fmt.Sprintf("from %v to %v", seconds(begin), seconds(end))
}

// livePacket is a packet of the host, taken apart.
type livePacket struct {
	src, dst  netip.Addr
	proto     wire.Protocol
	tos, ttl  int
	flowLabel int
	body      []byte // transport header and what follows
}

func parseLive(b []byte) (p livePacket, ok bool) {
	if wire.IPVersion(b) == 4 {
		h, err := wire.ParseIPv4(b, len(b))
		if err != nil || !h.VerifyChecksum() {
			return p, false
		}
		return livePacket{h.Src(), h.Dst(), h.Protocol(), int(h.TOS()), int(h.TTL()), -1, b[h.HeaderLen():h.TotalLen()]}, true
	}
	h, err := wire.ParseIPv6(b, len(b))
	if err != nil {
		return p, false
	}
	return livePacket{
		h.Src(), h.Dst(), h.NextHeader(), int(h.TrafficClass()), int(h.HopLimit()), int(h.FlowLabel()), b[wire.IPv6Len:],
	}, true
}

// ports are those of a segment or datagram.
func (p *livePacket) ports() (src, dst netip.AddrPort) {
	if len(p.body) < 4 {
		return
	}
	return netip.AddrPortFrom(p.src, uint16(p.body[0])<<8|uint16(p.body[1])), netip.AddrPortFrom(p.dst, uint16(p.body[2])<<8|uint16(p.body[3]))
}

// compare says what of a packet is not as the line wants it; "" if nothing.
func (r *runner) compare(p *packetEvent, sent sentPacket) string {
	live, ok := parseLive(sent.bytes)
	if !ok {
		return fmt.Sprintf("the host has sent what is no whole IP packet, or has a wrong header checksum: %x", sent.bytes)
	}
	if problem := compareIP(&p.ip, &live); problem != "" {
		return problem
	}
	switch {
	case p.tcp != nil:
		return r.compareSegment(p, &live, sent.bytes)
	case p.udp != nil:
		return r.compareUDP(p, &live, sent.bytes)
	}
	return r.compareICMP(p, &live)
}

func compareIP(ip *ipSpec, live *livePacket) string {
	ecn := live.tos & 3
	switch {
	case ip.ecn >= 0 && ecn != ip.ecn:
		return fmt.Sprintf("its ECN field is %s, expected %s", ecnName(ecn), ecnName(ip.ecn))
	case ip.ect && ecn != int(wire.ECT0) && ecn != int(wire.ECT1):
		return fmt.Sprintf("its ECN field is %s, expected ect0 or ect1", ecnName(ecn))
	case ip.tos >= 0 && ip.ecn < 0 && live.tos != ip.tos, ip.tos >= 0 && live.tos>>2 != ip.tos>>2:
		return fmt.Sprintf("its traffic class is 0x%x, expected 0x%x", live.tos, ip.tos)
	case ip.ttl >= 0 && live.ttl != ip.ttl:
		return fmt.Sprintf("its TTL is %d, expected %d", live.ttl, ip.ttl)
	case ip.flowLabel >= 0 && live.flowLabel != ip.flowLabel:
		return fmt.Sprintf("its flow label is 0x%x, expected 0x%x", live.flowLabel, ip.flowLabel)
	}
	return ""
}

func ecnName(ecn int) string { return [...]string{"noecn", "ect1", "ect0", "ce"}[ecn&3] }

// compareSegment compares a TCP segment.
func (r *runner) compareSegment(p *packetEvent, live *livePacket, raw []byte) string {
	if live.proto != wire.ProtoTCP {
		return "it is not a TCP segment"
	}
	h, err := wire.ParseTCP(live.body, len(live.body))
	if err != nil {
		return fmt.Sprintf("it is no whole TCP segment: %v", err)
	}
	f, problem := r.flowOfLive(p, live, wire.ProtoTCP)
	if problem != "" {
		return problem
	}
	g, payload := p.tcp, live.body[h.DataOffset():]
	f.learnISN(g, h)
	if problem := f.compareNumbers(g, h, len(payload)); problem != "" {
		return problem
	}
	if problem := f.compareOptions(g, h.OptionBytes(), r); problem != "" {
		return problem
	}
	if problem := f.verifyDigests(g, h, payload); problem != "" {
		return problem
	}
	if !h.VerifyChecksum(live.src, live.dst, 0, 0) && !verifyTCP(h, live) {
		return "its checksum is wrong"
	}
	if len(payload) > 0 && !f.unchecked && f.known {
		from := f.seqToScript(h.Seq()) - f.first
		if h.Flags()&wire.SYN != 0 {
			from++
		}
		if i := wrongByte(payload, from); i >= 0 && h.Flags()&wire.RST == 0 {
			return fmt.Sprintf("its data is not what was written, from byte %d of it on", i)
		}
	}
	f.lastSent = raw
	if len(payload) > 0 || h.Flags()&(wire.SYN|wire.FIN) != 0 {
		f.lastData = raw
	}
	return ""
}

// verifyTCP checks the checksum over header and data.
func verifyTCP(h wire.TCP, live *livePacket) bool {
	data := live.body[h.DataOffset():]
	return h.VerifyChecksum(live.src, live.dst, len(data), sumOf(data))
}

// flowOfLive sees that a packet of the host is of the connection that the line is about.
func (r *runner) flowOfLive(p *packetEvent, live *livePacket, proto wire.Protocol) (*flow, string) {
	src, dst := live.ports()
	known := r.findFlow(proto, src, dst)
	if !p.addressed() {
		cur := r.currentTCP
		if proto == wire.ProtoUDP {
			cur = r.currentUDP
		}
		switch {
		case cur == nil || cur == known:
			return r.openFlow(proto, src, dst), ""
		}
		return nil, fmt.Sprintf("it is from %v to %v, expected one from %v to %v", src, dst, cur.local, cur.remote)
	}
	for _, e := range []struct{ want, have netip.AddrPort }{{p.src, src}, {p.dst, dst}} {
		if e.want.Addr().IsValid() && e.want.Addr() != e.have.Addr() || e.want.Port() != 0 && e.want.Port() != e.have.Port() {
			return nil, fmt.Sprintf("it is from %v to %v, expected one from %v to %v", src, dst, endText(p.src), endText(p.dst))
		}
	}
	return r.openFlow(proto, src, dst), ""
}

// endText prints what a script says of an end.
func endText(a netip.AddrPort) string {
	if a.Addr().IsValid() {
		return a.String()
	}
	return fmt.Sprintf(":%d", a.Port())
}

// learnISN takes the host's initial sequence number from its SYN.
func (f *flow) learnISN(g *segmentSpec, h wire.TCP) {
	if h.Flags()&wire.SYN == 0 || g.flags&wire.SYN == 0 || f.known && !f.fresh {
		return
	}
	if f.fresh {
		f.peerSYN, f.hasStamp, f.labels, f.guard = f.nextSYN, false, nil, nil
	}
	f.known, f.fresh = true, false
	f.offset = h.Seq() - g.seq
	f.first = g.seq + 1
}

// compareNumbers compares all of a TCP header but the options.
func (f *flow) compareNumbers(g *segmentSpec, h wire.TCP, size int) string {
	mask := wire.TCPFlags(0x1ff)
	if g.anyECN {
		mask &^= wire.ECE | wire.CWR | wire.AE
	}
	seq := f.seqToScript(h.Seq())
	switch {
	case h.Flags()&mask != g.flags&mask:
		return fmt.Sprintf("its flags are %s, expected %s", flagText(h.Flags()), flagText(g.flags))
	case seq != g.seq:
		return fmt.Sprintf("its sequence number is %s, expected %d", signed(seq), g.seq)
	case size != g.length:
		return fmt.Sprintf("it has %d bytes of data, expected %d", size, g.length)
	case g.ack != nil && h.Ack() != *g.ack:
		return fmt.Sprintf("its acknowledgment number is %s, expected %d", signed(h.Ack()), *g.ack)
	case g.win != nil && h.Window() != *g.win:
		return fmt.Sprintf("its window is %d, expected %d", h.Window(), *g.win)
	case g.urg != nil && h.Urgent() != *g.urg:
		return fmt.Sprintf("its urgent pointer is %d, expected %d", h.Urgent(), *g.urg)
	case h.Reserved() != 0:
		return "its reserved bits are not 0"
	}
	return ""
}

// signed prints a sequence number, one a little before 0 as negative.
func signed(n uint32) string {
	if n > 1<<32-256 {
		return fmt.Sprint(int32(n))
	}
	return fmt.Sprint(n)
}

// compareOptions compares the TCP options one by one, in their order.
func (f *flow) compareOptions(g *segmentSpec, b []byte, r *runner) string {
	live := decodeOptions(b)
	for i := range live {
		if kind := wire.TCPOptionKind(live[i].kind); kind == wire.TCPOptionFastOpen && len(live[i].data) > 0 {
			f.fastCookie = bytes.Clone(live[i].data)
		}
	}
	if g.anyOptions {
		return ""
	}
	problem := fmt.Sprintf("its options are %s, expected %s", optionText(f.toScript(live)), optionText(g.options))
	if len(live) != len(g.options) {
		return problem
	}
	for i := range live {
		if !f.sameOption(&g.options[i], &live[i]) {
			return problem
		}
	}
	for i := range live {
		if want := &g.options[i]; isStamp(want) && !want.anyVal {
			if problem := f.checkStamp(r, want.val, live[i].val); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func isStamp(o *optionSpec) bool {
	return wire.TCPOptionKind(o.kind) == wire.TCPOptionTimestamps && o.data == nil && o.length < 0
}

// sameOption compares one option; TSval is for checkStamp.
func (f *flow) sameOption(want, live *optionSpec) bool {
	switch {
	case want.kind != live.kind || want.bare != live.bare:
		return false
	case want.secret != nil: // the digest is for verifyDigests
		ids := len(want.data) - want.secret.size(want.kind)
		return len(want.data) == len(live.data) && bytes.Equal(want.data[:ids], live.data[:ids])
	case want.any:
		return bytes.HasPrefix(live.data, want.data)
	case isStamp(want):
		return isStamp(live) && (want.anyEcr || want.ecr == live.ecr)
	case len(want.blocks) > 0 || len(live.blocks) > 0:
		return slices.Equal(want.blocks, live.blocks)
	}
	length := want.length
	if length == 2+len(want.data) {
		length = -1
	}
	return length == live.length && bytes.Equal(want.data, live.data)
}

// checkStamp takes a TSval of the host: what the script calls it is remembered, and with --tcp_ts_tick_usecs it must have gone on as
// the clock has.
func (f *flow) checkStamp(r *runner, script, onWire uint32) string {
	if f.hasStamp && r.script.set.tsTick > 0 {
		if got := onWire - f.firstOff; got != script {
			return fmt.Sprintf("its TSval is %d, expected %d (the first was %d)", got, script, f.firstVal)
		}
	}
	f.learnStamp(script, onWire)
	return ""
}

// toScript turns the timestamps of options into the script's numbers, as far as they are known.
func (f *flow) toScript(all []optionSpec) []optionSpec {
	all = slices.Clone(all)
	for i := range all {
		if isStamp(&all[i]) && f.hasStamp {
			all[i].val -= f.firstOff
		}
	}
	return all
}
