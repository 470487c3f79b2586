package tcptest

import (
	"fmt"
	"strings"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// flagLetters are the letters of scripts, in the order in which they are written.
var flagLetters = []struct {
	letter byte
	flag   wire.TCPFlags
}{{'S', wire.SYN}, {'F', wire.FIN}, {'R', wire.RST}, {'P', wire.PSH}, {'U', wire.URG}, {'E', wire.ECE}, {'W', wire.CWR}, {'A', wire.AE}, {'.', wire.ACK}}

// format writes a segment as scripts do, relative to the initial sequence numbers of who sends it and who gets it.
func format(seg *tcp.Segment, iss, irs tcp.Seq) string {
	var b strings.Builder
	for _, f := range flagLetters {
		if seg.Flags&f.flag != 0 {
			b.WriteByte(f.letter)
		}
	}
	n := seg.Payload.Size()
	begin := int64(int32(seg.Seq - iss))
	fmt.Fprintf(&b, " %d:%d(%d)", begin, begin+int64(n), n)
	if seg.Flags&wire.ACK != 0 {
		fmt.Fprintf(&b, " ack %d", int32(seg.Ack-irs))
	}
	fmt.Fprintf(&b, " win %d", seg.Window)
	formatOptions(&b, &seg.Options, irs)
	return b.String()
}

func formatOptions(b *strings.Builder, o *wire.TCPOptions, irs tcp.Seq) {
	if o.HasMSS {
		fmt.Fprintf(b, " mss %d", o.MSS)
	}
	if o.SACKPermitted {
		b.WriteString(" sackOK")
	}
	if o.TS {
		fmt.Fprintf(b, " TS %d %d", o.TSVal, o.TSEcr)
	}
	if o.HasWScale {
		fmt.Fprintf(b, " wscale %d", o.WScale)
	}
	for i, s := range o.SACKBlocks() {
		if i == 0 {
			b.WriteString(" sack")
		}
		fmt.Fprintf(b, " %d:%d", int32(tcp.Seq(s.Left)-irs), int32(tcp.Seq(s.Right)-irs))
	}
}

var stateNames = map[tcp.State]string{
	tcp.Closed: "CLOSED", tcp.SynSent: "SYN-SENT", tcp.SynReceived: "SYN-RECEIVED", tcp.Established: "ESTABLISHED",
	tcp.FinWait1: "FIN-WAIT-1", tcp.FinWait2: "FIN-WAIT-2", tcp.CloseWait: "CLOSE-WAIT", tcp.Closing: "CLOSING",
	tcp.LastAck: "LAST-ACK", tcp.TimeWaiting: "TIME-WAIT",
}

func stateName(s tcp.State) string { return stateNames[s] }
