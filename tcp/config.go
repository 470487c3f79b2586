package tcp

import (
	"sync"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/tcp/cc"
)

// Config is what the connections of a stack share; immutable once in use, and not to be copied then (it owns pools). Zero fields mean
// the defaults given.
type Config struct {
	Buffers                             *buffer.Pool
	SendBuffer                          int           // limit of chunk capacity charged by unsent and unacknowledged data; default 4 MiB
	ReceiveBuffer                       int           // the same for unread and out-of-order data; what the window offers; default 4 MiB
	MinRTO                              time.Duration // least share of the RTO beyond the smoothed RTT, as Linux has it: 200 ms
	MaxRTO                              time.Duration // 60 s, the least that RFC 6298 §2.5 allows: more attempts before R2 at no more time
	DelayedAck                          time.Duration // 40 ms
	TimeWait                            time.Duration // 60 s
	FinWait2                            time.Duration // 60 s: an orphan waits so long for the peer's FIN
	UserTimeout                         time.Duration // 0: R2 as RFC 1122 §4.2.3.5 (about 15 minutes; SYN 3)
	Granularity                         time.Duration // of the clock that gives now: G of RFC 6298, 1 ms. Set it if the clock ticks more coarsely
	Congestion                          string        // one of cc.Names; default the first, "cubic"
	NoSlowStartAfterIdle                bool          // the window lasts for 5 minutes without use (RFC 7661), not for an RTO (RFC 5681 §4.1)
	Pacing                              bool          // congestion control without a rate of its own paces its window as well
	FirstSendBuffer                     int           // what the send buffer holds in any case, before it follows cwnd up to SendBuffer; 128 KiB
	NotSentLowat                        int           // how many bytes may be queued and not sent, TCP_NOTSENT_LOWAT; 0: no such limit
	NoTimestamps, NoSACK, NoWindowScale bool
	SynRetries                          int           // SYNs sent again before an active open fails; 7, at least 3 minutes (RFC 9293 §3.8.3, MUST-23)
	SynAckRetries                       int           // the same of SYN-ACKs; 5
	SynCookies                          CookieMode    // when listeners answer with SYN cookies
	AbortOnOverflow                     bool          // a handshake completed for which the accept queue has no room is reset, not ignored
	NoRFC1337                           bool          // a RST ends TIME-WAIT
	ECN                                 ECNMode       // ECNAccept
	ECNControl                          bool          // ECN++ (draft-ietf-tcpm-generalized-ecn): control packets and retransmissions are ECN-capable too
	NoECNFallback                       bool          // a SYN that asks for ECN and gets no answer is not sent without that
	NoECNOption                         bool          // accurate feedback without the AccECN option: by the header's three bits only
	OrphanRetries                       int           // timeouts in a row after which an orphan is given up; 0: as if it were none
	Reordering                          int           // DupThresh: so many segments SACKed, or duplicate ACKs, mean a loss; 3
	NoRACK                              bool          // losses are found by counting (RFC 6675), not by time (RFC 8985)
	NoTLP                               bool          // no tail loss probes (RFC 8985 §7)
	NoFRTO                              bool          // timeouts are not checked by F-RTO (RFC 5682)
	NoDSACK                             bool          // the peer is not told what came twice (RFC 2883)
	MTUProbing                          MTUProbing    // whether segments probe for the MTU of the path (RFC 4821); MTUProbeBlackHole
	BaseMSS                             int           // payload with which a search for that begins; 1024
	MinSendMSS                          int           // the least that black holes and ICMP make of a segment over IPv4; 256
	MTUProbeInterval                    time.Duration // after which a search that is over begins anew; 10 minutes

	noPrediction bool // of tests: every ACK takes all steps

	flights, inflows, islands sync.Pool // of *flight, *inflow, *island: what only a connection with data under way needs
}

const defaultBuffer = 4 << 20

func (cfg *Config) sendBuffer() int            { return orInt(max(cfg.SendBuffer, 0), defaultBuffer) }
func (cfg *Config) firstSendBuffer() int       { return orInt(max(cfg.FirstSendBuffer, 0), 128<<10) }
func (cfg *Config) receiveBuffer() int         { return orInt(max(cfg.ReceiveBuffer, 0), defaultBuffer) }
func (cfg *Config) minRTO() time.Duration      { return orTime(cfg.MinRTO, 200*time.Millisecond) }
func (cfg *Config) maxRTO() time.Duration      { return orTime(cfg.MaxRTO, 60*time.Second) }
func (cfg *Config) delayedAck() time.Duration  { return orTime(cfg.DelayedAck, 40*time.Millisecond) }
func (cfg *Config) timeWait() time.Duration    { return orTime(cfg.TimeWait, 60*time.Second) }
func (cfg *Config) finWait2() time.Duration    { return orTime(cfg.FinWait2, 60*time.Second) }
func (cfg *Config) reordering() int            { return orInt(max(cfg.Reordering, 0), 3) }
func (cfg *Config) granularity() time.Duration { return orTime(cfg.Granularity, time.Millisecond) }
func (cfg *Config) synRetries() uint8 {
	return uint8(min(orInt(max(cfg.SynRetries, 0), synRetries), 127))
}
func (cfg *Config) synAckRetries() uint8 {
	return uint8(min(orInt(max(cfg.SynAckRetries, 0), synAckRetries), 127))
}

// orTime is d, or its default. (Unlike cmp.Or it is inlined.)
func orTime(d, otherwise time.Duration) time.Duration {
	if d != 0 {
		return d
	}
	return otherwise
}

// orInt is n, or its default.
func orInt(n, otherwise int) int {
	if n != 0 {
		return n
	}
	return otherwise
}

// control makes the configured congestion control; the default one if the name is not known (whoever fills a Config checks it).
func (cfg *Config) control(mss int) cc.Control {
	if cfg.Congestion != "" {
		if control, err := cc.New(cfg.Congestion, mss); err == nil {
			return control
		}
	}
	control, _ := cc.New(cc.Names()[0], mss)
	return control
}

// Params are what one connection starts with.
type Params struct {
	ISS       Seq       // initial send sequence number (RFC 6528)
	TSOffset  uint32    // added to the millisecond clock for TSval
	MSS       int       // what we announce and never exceed: MTU less 40 (IPv4) or 60 (IPv6)
	PeerMSS   int       // what a peer takes that does not say (RFC 9293 §3.7.1): 1220 for IPv6; 0: 536
	GSOMax    int       // largest payload of a super-segment; at least MSS
	AuthSpace int       // bytes of options that whoever signs segments adds to each: a multiple of 4, at most 20; 0: none
	Options   *Options  // what its socket asks for; nil: nothing
	FastOpen  *FastOpen // of an active open; nil: a plain SYN
	IPv6      bool      // each path takes packets of 1280 bytes
	Share     int       // as SetShare's receive: new connections start with less while others hold the memory; 0: no limit
}

// peerMSS is what the peer takes as long as it has not said.
func (p *Params) peerMSS() uint16 { return uint16(orInt(p.PeerMSS, defaultMSS)) }
