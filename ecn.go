package weir

import "github.com/weirnet/weir/tcp"

// ECNMode says which kind of Explicit Congestion Notification a connection asks its peer for, and which it takes if the peer asks: classic is
// the feedback of RFC 3168, accurate that of RFC 9768 (AccECN). Who asks for one kind takes it too; who takes accurate takes classic.
type ECNMode = tcp.ECNMode

// The modes; in parentheses the value of the Linux kernel's net.ipv4.tcp_ecn that does the same.
const (
	ECNDefault      = tcp.ECNDefault      // in SockOpts: as Config says; in Config: ECNAccept
	ECNOff          = tcp.ECNOff          // neither asks nor takes any (0)
	ECNAccept       = tcp.ECNAccept       // takes classic (2)
	ECNAsk          = tcp.ECNAsk          // asks for classic (1)
	AccECNAccept    = tcp.AccECNAccept    // takes accurate (5)
	AccECNAcceptAsk = tcp.AccECNAcceptAsk // takes accurate, asks for classic (4)
	AccECNAsk       = tcp.AccECNAsk       // asks for accurate (3)
)
