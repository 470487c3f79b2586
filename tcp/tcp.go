// Package tcp is TCP (RFC 9293) as plain data: a Conn has no lock, no clock, no goroutine and does no I/O. Its owner hands it segments,
// the time and the application's calls, and asks it for the segments to send and for the instant at which it wants to be called again.
//
// The rules that it follows, beside RFC 9293: options and windows by RFC 7323 and RFC 2018, retransmission by RFC 6298, loss recovery by
// RACK-TLP (RFC 8985), RFC 5681, RFC 6582, RFC 6675, RFC 3042, RFC 9937 (PRR), F-RTO (RFC 5682), Eifel (RFC 3522, RFC 4015) and D-SACK
// (RFC 2883, RFC 3708), protection against strangers by RFC 5961 and RFC 5927, and the requirements
// of RFC 1122 as RFC 9293 repeats them.
package tcp

// State is a state of RFC 9293 §3.3.2.
type State uint8

// The states. LISTEN is its owner's, a passive open in SYN-RECEIVED is a SynRecv, and TIME-WAIT goes on in a TimeWait.
const (
	Closed State = iota
	SynSent
	SynReceived // only of a simultaneous open
	Established
	FinWait1
	FinWait2
	CloseWait
	Closing
	LastAck
	TimeWaiting
)

var stateNames = [...]string{"CLOSED", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",
	"LAST-ACK", "TIME-WAIT"}

// String is the name that RFC 9293 gives the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// synchronized: both sides know the other's sequence numbers (RFC 9293 §3.5.2, groups 2 and 3; SYN-RECEIVED is not among them here).
func (s State) synchronized() bool { return s >= Established }

// receives: the peer may still send data that counts (RFC 9293 §3.10.7.4, seventh).
func (s State) receives() bool { return s == Established || s == FinWait1 || s == FinWait2 }

// Events says what a call changed for the owner.
type Events uint16

// The events.
const (
	Readable  Events = 1 << iota // data or EOF can be read where there was none
	Writable                     // there is send space where SendSpace was 0
	Connected                    // the handshake is complete
	Failed                       // the connection ended by an error (Err): reset, timeout, …
	// TimeWaitNow: entered TIME-WAIT. Take NewTimeWait's record, let Output give the last ACK, and forget the Conn as far as segments go.
	TimeWaitNow
	Done // CLOSED: take it out of the flow table
	// FastOpenCutOff: opened with data on the SYN, and never heard of again.
	FastOpenCutOff
	UrgentData // the peer has sent urgent data that is not read: see UrgentAhead
	// PathSuspect: R1 was reached (RFC 9293 §3.8.3): the way to the peer may be gone, and is to be looked up again.
	PathSuspect
	// PathNarrowed: what TooBig was told, and did not believe, is true: NarrowedTo.
	PathNarrowed
)
