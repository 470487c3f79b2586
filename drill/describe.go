package drill

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirnet/weir/checksum"
	"github.com/weirnet/weir/wire"
)

func sumOf(b []byte) uint16 { return checksum.Sum(b, 0) }

// sumFrom is the sum over pseudo-header and message.
func sumFrom(b []byte, src, dst netip.Addr, proto uint8) uint16 {
	return checksum.Sum(b, checksum.PseudoHeader(src, dst, proto, len(b)))
}

// flagText prints flags as scripts have them.
func flagText(f wire.TCPFlags) string {
	text := ""
	for _, k := range []struct {
		flag wire.TCPFlags
		text string
	}{
		{wire.SYN, "S"}, {wire.FIN, "F"}, {wire.RST, "R"}, {wire.PSH, "P"}, {wire.URG, "U"}, {wire.ECE, "E"}, {wire.CWR, "W"}, {wire.AE, "A"},
		{wire.ACK, "."},
	} {
		if f&k.flag != 0 {
			text += k.text
		}
	}
	if text == "" {
		return "-"
	}
	return text
}

func optionText(all []optionSpec) string {
	var parts []string
	for i := range all {
		parts = append(parts, all[i].String())
	}
	return "<" + strings.Join(parts, ",") + ">"
}

// describe prints a packet of the wire in the language of scripts. F is its flow if it arrives.
func (r *runner) describe(b []byte, f *flow, in bool) string {
	live, ok := parseLive(b)
	if !ok {
		return fmt.Sprintf("%x", b)
	}
	ip := ""
	if ecn := live.tos & 3; ecn != 0 {
		ip = "[" + ecnName(ecn) + "] "
	}
	if live.tos>>2 != 0 {
		ip = fmt.Sprintf("[tos 0x%x] ", live.tos)
	}
	switch live.proto {
	case wire.ProtoTCP:
		return ip + r.describeTCP(&live, f, in)
	case wire.ProtoUDP:
		src, dst := live.ports()
		return fmt.Sprintf("%s%v > %v udp (%d)", ip, src, dst, max(len(live.body)-wire.UDPLen, 0))
	case wire.ProtoICMP, wire.ProtoICMPv6:
		return ip + describeICMP(&live)
	}
	return fmt.Sprintf("%sprotocol %d, %d bytes", ip, live.proto, len(live.body))
}

func (r *runner) describeTCP(live *livePacket, f *flow, in bool) string {
	src, dst := live.ports()
	h, err := wire.ParseTCP(live.body, len(live.body))
	if err != nil {
		return fmt.Sprintf("%v > %v malformed TCP header: %x", src, dst, live.body)
	}
	if !in {
		f = r.findFlow(wire.ProtoTCP, src, dst)
	}
	ends := ""
	if f == nil || len(r.flows) > 1 {
		ends = fmt.Sprintf("%v > %v ", src, dst)
	}
	if f == nil {
		f = &flow{}
	}
	seq, ack, options := h.Seq(), h.Ack(), decodeOptions(h.OptionBytes())
	if in {
		ack -= f.offset
		for i := range options {
			for k := range options[i].blocks {
				options[i].blocks[k].Left -= f.offset
				options[i].blocks[k].Right -= f.offset
			}
			if isStamp(&options[i]) && options[i].ecr != 0 {
				options[i].ecr -= f.stamp
			}
		}
	} else {
		seq, options = f.seqToScript(seq), f.toScript(options)
		if !f.known && h.Flags()&wire.SYN != 0 {
			seq = 0
		}
	}
	n := len(live.body) - h.DataOffset()
	text := fmt.Sprintf("%s%s %s:%s(%d)", ends, flagText(h.Flags()), signed(seq), signed(seq+uint32(n)), n)
	if h.Flags()&wire.ACK != 0 {
		text += " ack " + signed(ack)
	}
	text += fmt.Sprintf(" win %d", h.Window())
	if h.Flags()&wire.URG != 0 {
		text += fmt.Sprintf(" urg %d", h.Urgent())
	}
	if len(options) > 0 {
		text += " " + optionText(options)
	}
	return text
}
