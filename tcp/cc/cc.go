// Package cc is congestion control for package tcp: Reno (RFC 5681) and CUBIC (RFC 9438), both with byte counting (RFC 3465), the slow
// start of HyStart++ (RFC 9406), the response to marks of ABE (RFC 8511) and window validation (RFC 7661); and BBRv3
// (draft-ietf-ccwg-bbr-06). All start from the initial window of RFC 6928.
//
// A Control decides how much may be in flight; which bytes are in flight, which are lost, and when recovery begins and ends is the
// connection's knowledge. All windows are bytes and all arithmetic is in integers, so that a run replays exactly on every processor.
package cc

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/weirnet/weir/sched"
)

// Infinite is the slow start threshold before the first congestion event.
const Infinite = math.MaxInt32

// maxCwnd bounds the window: the largest send window that TCP can express is just less (2^16-1 << 14), and sums do not overflow.
const maxCwnd = 1 << 30

// Ack is what one acknowledgement told.
type Ack struct {
	Now         sched.Time
	Acked       int           // bytes by which the cumulative acknowledgment moved: what windows grow by (not by duplicate ACKs, RFC 5681 §3.2)
	Delivered   int           // bytes newly known to be delivered: cumulatively acknowledged or SACKed, each counted once
	Lost        int           // bytes that this ACK has shown to be lost
	InFlight    int           // bytes in the network by the sender's estimate (RFC 6675's pipe), before this ACK
	Pipe        int           // the same after it
	MSS         int           // payload of a full segment, in bytes
	RTT         time.Duration // sample that this ACK gave; 0: none
	MinRTT      time.Duration // least of the connection; 0: not known
	SRTT        time.Duration // smoothed; 0: not known
	CwndLimited bool          // the window, not the application or the peer, was what limited sending since the last ACK (RFC 7661)
	CwndFull    bool          // the same, and all of it: in slow start half of the window in use is enough for CwndLimited
	Round       bool          // the first ACK of a round trip: what was SND.NXT at the last such ACK is now acknowledged (RFC 9406 §4.2)
	NoSACK      bool          // the peer does not tell what it has behind a hole: only one loss a round trip can be seen
	Total       uint64        // bytes delivered over the life of the connection
	Sample      Sample
	CE          int  // of Delivered, the bytes that arrived marked by ECN: exact with AccECN (RFC 9768); else all of Delivered, or none
	ECE         bool // the peer told of marks
}

// Sample is a delivery rate sample (draft-ietf-ccwg-bbr-06 §4.1): what the network delivered from the last ACK before a packet was sent to
// the ACK of it. The packet is that which was sent last of those that an ACK told about. The zero Sample is none.
type Sample struct {
	Rate       int64         // bytes per second; 0: the interval is too short to be believed
	Delivered  int           // bytes in the interval
	Interval   time.Duration // the longer of the time for sending and for acknowledging what was delivered
	Prior      uint64        // Ack.Total when the packet was sent
	InFlight   int           // bytes in the network when the packet was sent, itself included
	Lost       int           // bytes found lost since the packet was sent
	AppLimited bool          // when the packet was sent, or a round trip before, the application had less to send than was allowed
}

// LostPacket is what was sent at once and is found lost.
type LostPacket struct {
	Bytes      int
	InFlight   int // bytes in the network when it was sent, itself included
	Lost       int // bytes found lost since it was sent, itself included
	Now        sched.Time
	Prior      uint64 // Ack.Total when it was sent
	Total      uint64 // Ack.Total now
	AppLimited bool   // as Sample has it
}

// Cause is what tells of congestion.
type Cause uint8

// The causes.
const (
	Loss Cause = iota // a packet was lost
	Mark              // the network has marked a packet instead (ECN: CE, RFC 3168 §5)
)

// A Control decides the congestion window of one connection. It is plain data: not safe for concurrent use, no clock. The connection
// calls
//
//	Congestion … Acked … Recovered     for each fast recovery, and
//	Timeout … Acked … Recovered        for each loss recovery begun by the retransmission timer,
//
// with Undo in place of Recovered if it turns out that nothing was lost. During fast recovery Cwnd of Reno and CUBIC stays at Ssthresh
// (there is no inflation: the connection takes duplicate ACKs off what it counts as in flight); after a timeout they slow-start from one
// segment.
type Control interface {
	// Name is the name that New takes.
	Name() string
	// Cwnd is the congestion window in bytes: what may be in flight. At least one segment.
	Cwnd() int
	// Ssthresh is the slow start threshold in bytes; Infinite before the first congestion event.
	Ssthresh() int
	// OwnRecovery reports whether Cwnd alone says what may be in flight, in fast recovery too. If not, the connection goes down to Ssthresh
	// by Proportional Rate Reduction (RFC 9937).
	OwnRecovery() bool
	// PacingRate is the rate in bytes per second at which to send; 0: the control asks for none.
	PacingRate() int64
	// Lost reports each packet that is found lost, before the Congestion or Acked that follows from it. A timeout does not say which
	// packets are.
	Lost(LostPacket)
	// Acked reports each ACK that acknowledged or delivered something. The Ack is the caller's.
	Acked(*Ack)
	// Congestion reports that recovery begins, because of a loss that was detected by duplicate ACKs or SACK, or of a mark that the
	// network has put on a packet. flight is RFC 5681's FlightSize: bytes sent and not cumulatively acknowledged.
	Congestion(now sched.Time, flight int, cause Cause)
	// Timeout reports that the retransmission timer has expired with flight bytes sent and not cumulatively acknowledged; again: it
	// expired before and nothing was acknowledged since, so that this is no new sign of congestion (RFC 5681 §3.1).
	Timeout(now sched.Time, flight int, again bool)
	// Recovered reports that all that was outstanding when Congestion or Timeout was called is acknowledged.
	Recovered(now sched.Time)
	// Undo reports that the latest Congestion or Timeout was wrong, and restores the windows from before it (RFC 9438 §4.9; RFC 4015 §3.1).
	Undo(now sched.Time)
	// Idle reports that nothing is in flight before more is sent, for how long nothing was sent, and the smoothed round trip time (0: not
	// known). Restart: that was longer than the RTO, and the window is to be restarted (RFC 5681 §4.1).
	Idle(now sched.Time, idle, srtt time.Duration, restart bool)
	// SynLost reports, before any data is sent, that the SYN or SYN-ACK had to be retransmitted more than once (RFC 6928 §2).
	SynLost()
	// SetMSS changes the segment size. Before the first Acked it sets the initial window anew; after it, a smaller one reduces the window
	// in proportion (RFC 5681 §3.1).
	SetMSS(mss int)
}

// New returns the control of that name. "bbr-tolerant" is BBR that, like its first version, does not slow down for losses as such: outside
// of probes only for round trips in which more is lost than the draft's own objective allows (2 %, §3.2). It is for paths that lose at
// random, where the draft's response takes a hundredth of the rate for each round trip that loses one packet of a hundred. The control is
// for a connection whose full segments carry mss bytes. The error names those that exist.
func New(name string, mss int) (Control, error) {
	switch name {
	case "cubic":
		c := &cubic{}
		c.init(mss)
		return c, nil
	case "bbr", "bbr-tolerant":
		b := &bbr{}
		b.init(mss, name == "bbr-tolerant")
		return b, nil
	case "reno":
		c := &reno{}
		c.init(mss)
		return c, nil
	}
	return nil, Unknown(name)
}

// Unknown is the error that no control has that name; it names those that exist.
func Unknown(name string) error {
	s, sep := "no congestion control is named "+strconv.Quote(name)+": use one of ", ""
	for _, known := range Names() {
		s, sep = s+sep+known, ", "
	}
	return errors.New(s)
}

// Names lists the controls that New knows, the default first.
func Names() []string { return []string{"cubic", "reno", "bbr", "bbr-tolerant"} }

// Quantum is how many bytes to send at once at a pacing rate in bytes per second: what a millisecond takes, at most 64 KiB, and at least
// two segments, which is what a receiver acknowledges (draft-ietf-ccwg-bbr-06 §5.6.3).
func Quantum(rate int64, mss int) int { return max(int(min(rate/1000, 64<<10)), 2*mss) }

// InitialWindow is the window in bytes with which a connection starts (RFC 6928 §2, equation 1).
func InitialWindow(mss int) int { return min(10*mss, max(2*mss, 14600)) }
