package drill

import (
	"net/netip"
	"time"

	"github.com/weirnet/weir/wire"
)

// Script is a parsed script. It does not change: it may be run many times, from many goroutines.
type Script struct {
	name   string
	set    settings
	head   []*shellEvent // commands before the first event
	events []*event
}

// Name is what Parse was given.
func (s *Script) Name() string { return s.name }

// event is one thing that happens, or is expected to.
type event struct {
	pos  position
	text string // as the script has it
	when when
	what any // *packetEvent, *callEvent, *shellEvent, *codeEvent
}

// anchor says what a time counts from.
type anchor uint8

const (
	absolute anchor = iota // the beginning of the script
	relative               // the event before
	anytime                // an expected packet may come whenever it likes
)

// when is the time of an event.
type when struct {
	anchor     anchor
	begin, end time.Duration // the same unless there is a range
	blocking   bool          // a call that begins at begin and ends at end
}

// packetEvent is a packet that arrives (in) or is expected.
type packetEvent struct {
	in       bool
	src, dst netip.AddrPort // parts that the script names
	ip       ipSpec
	tcp      *segmentSpec // of these three one
	udp      *udpSpec
	icmp     *icmpSpec
}

// addressed reports whether the script says which connection the packet is of.
func (p *packetEvent) addressed() bool {
	return p.src != (netip.AddrPort{}) || p.dst != (netip.AddrPort{})
}

// ipSpec is what a script says of an IP header; -1: nothing.
type ipSpec struct {
	ecn       int // 2 bits
	ect       bool
	tos       int // 8 bits
	ttl       int
	flowLabel int
	options   []byte // of IPv4
}

// segmentSpec is a TCP segment of a script.
type segmentSpec struct {
	flags      wire.TCPFlags
	anyECN     bool // ECE, CWR and AE are not looked at
	seq        uint32
	length     int
	ack        *uint32
	win        *uint16
	urg        *uint16
	options    []optionSpec
	anyOptions bool // <...>
	headerLen  int  // in bytes, when it is not what the options need; -1
	badSum     bool
}

// end is the sequence number behind the data.
func (g *segmentSpec) end() uint32 { return g.seq + uint32(g.length) }

// optionSpec is one TCP option of a script.
type optionSpec struct {
	kind   uint8
	length int    // of the length byte; -1: as it should be
	data   []byte // behind kind and length
	any    bool   // outbound: whatever data; inbound: what was seen last (cookies)
	bare   bool   // no length byte: NOP and EOL
	// What is mapped between the script's numbers and those of the wire.
	anyVal, anyEcr bool
	val, ecr       uint32
	blocks         []wire.SACKBlock
	secret         *secret // the digest is made or checked with this key
}

// udpSpec is a UDP datagram of a script.
type udpSpec struct{ length int }

// icmpSpec is an ICMP message of a script.
type icmpSpec struct {
	name    string
	mtu     int // -1: not said
	id, seq int
	length  int          // of an echo's data
	quote   *segmentSpec // what it quotes; nil, and udp too: the last packet
	udp     *udpSpec
}

// callEvent is a socket call with what it is to give.
type callEvent struct {
	name   string
	args   []value
	result value
	errno  string // "" if the call is to succeed
}

// shellEvent is a command line.
type shellEvent struct {
	pos     position
	command string
}

// codeEvent is a block of assertions.
type codeEvent struct{ stmts []statement }
