package cc

import (
	"math"
	"math/bits"
	"time"

	"github.com/weirnet/weir/sched"
)

// bbr is BBRv3 after draft-ietf-ccwg-bbr-06, whose names it bears, in bytes, bytes per second and percent. It keeps a model of the path
// (bbr_model.go), probes it by a state machine (bbr_startup.go, bbr_probebw.go, bbr_probertt.go), bounds it by the losses it sees
// (bbr_loss.go), and derives from it how fast to send and how much may be in flight (bbr_control.go).
type bbr struct {
	pacingRate int64 // C.pacing_rate; 0: not initialized

	// The model: data rates (§2.9.1) and round trip times (§2.16).
	maxBw         [2]int64 // BBR.max_bw_filter: of the previous and of this cycle of ProbeBW
	bw            int64    // min(max_bw, bw_shortterm)
	bwShort       int64    // BBR.bw_shortterm
	bwLatest      int64    // BBR.bw_latest: most of this round trip of losses
	fullBw        int64    // BBR.full_bw
	undoBwShort   int64
	minRTT        time.Duration // 0: infinite
	minRTTAt      sched.Time    // BBR.min_rtt_stamp
	probeRTTDelay time.Duration // BBR.probe_rtt_min_delay; 0: infinite
	probeRTTAt    sched.Time    // BBR.probe_rtt_min_stamp
	probeRTTDone  sched.Time    // BBR.probe_rtt_done_stamp; 0: none

	total       uint64 // C.delivered at the latest ACK
	nextRound   uint64 // BBR.next_round_delivered
	lossRound   uint64 // BBR.loss_round_delivered
	limitedTill uint64 // what was sent before so much was delivered is limited by ProbeRTT

	extraAt        sched.Time // BBR.extra_acked_interval_start
	extraDelivered int64
	cycleAt        sched.Time // BBR.cycle_stamp
	probeWait      time.Duration

	// Volumes in bytes (§2.9.2).
	mss, initial      int32
	cwnd, priorCwnd   int32
	inflightLong      int32 // BBR.inflight_longterm; Infinite: not known
	inflightShort     int32
	inflightLatest    int32
	undoInflightLong  int32
	undoInflightShort int32
	extra             [2]int32 // BBR.extra_acked_filter: most of the previous and of this half of its window
	probeUpAcked      int32    // BBR.bw_probe_up_acked
	probeUpPerInc     int32    // BBR.probe_up_acked_per_inc

	rounds           uint32 // BBR.round_count
	drainStart       uint32 // BBR.drain_start_round
	roundsSinceProbe uint8  // BBR.rounds_since_probe_up, up to 255
	probeUpRounds    uint8
	extraRounds      uint8 // round trips in this half of the window of extra
	fullBwCount      uint8
	lossEvents       uint8 // in this round trip, up to 255
	sentGain         uint8 // see noteGain; percent, up to 255
	ackedGain        uint8

	state     bbrState
	undoState bbrState // BBR.undo_state; bbrNone
	acks      ackPhase

	roundStart     bool
	lossRoundStart bool
	lossInRound    bool
	fullBwReached  bool
	fullBwNow      bool
	probeSample    bool // BBR.is_bw_probe_sample
	tooHigh        bool // BBR.prev_probe_too_high
	precautionary  bool // BBR.prev_probe_precautionary
	idleRestart    bool
	probeRTTRound  bool // BBR.probe_rtt_round_done
	probeRTTDue    bool // BBR.probe_rtt_expired
	recovering     bool // between Congestion or Timeout and Recovered
	noSACK         bool
	tolerant       bool // "bbr-tolerant": see New
}

// bbrState is a state of §3.3.
type bbrState uint8

const (
	bbrNone bbrState = iota
	bbrStartup
	bbrDrain
	bbrDown
	bbrCruise
	bbrRefill
	bbrUp
	bbrProbeRTT
)

// ackPhase is what ACKs tell with respect to probing (§2.14).
type ackPhase uint8

const (
	acksInit ackPhase = iota
	acksRefilling
	acksStarting
	acksFeedback
	acksStopping
)

// The constants of §2.5 to §2.16, in percent where the draft has fractions.
const (
	startupPacingGain = 277 // 4·ln 2
	pacingMargin      = 1
	lossThresh        = 2
	bbrBeta           = 70
	headroom          = 15
	minPipeSegments   = 4
	startupLossEvents = 6
	probeRTTGain      = 50
	probeRTTDuration  = 200 * time.Millisecond
	probeRTTInterval  = 5 * time.Second
	minRTTFilterLen   = 10 * time.Second
	extraFilterLen    = 10 // round trips
)

// infiniteRate is a rate that bounds nothing.
const infiniteRate = math.MaxInt64

// init is OnInit (§5.2.1).
func (b *bbr) init(mss int, tolerant bool) {
	*b = bbr{tolerant: tolerant, mss: int32(max(mss, 1)), inflightLong: Infinite, probeUpPerInc: Infinite, state: bbrStartup, sentGain: 255, ackedGain: 255}
	b.initial = int32(InitialWindow(int(b.mss)))
	b.cwnd = b.initial
	b.initPacingRate(time.Millisecond)
	b.resetShortTermModel()
}

// Name: see Control.
func (b *bbr) Name() string {
	if b.tolerant {
		return "bbr-tolerant"
	}
	return "bbr"
}

func (b *bbr) Cwnd() int         { return int(b.cwnd) }
func (b *bbr) Ssthresh() int     { return Infinite }
func (b *bbr) OwnRecovery() bool { return true }
func (b *bbr) PacingRate() int64 { return b.pacingRate }

// Acked is UpdateOnACK (§5.2.3).
func (b *bbr) Acked(a *Ack) {
	if b.minRTTAt == 0 {
		b.begin(a.Now, a.SRTT)
	}
	b.total, b.noSACK = a.Total, a.NoSACK
	s := a.Sample
	s.AppLimited = s.AppLimited || s.Prior < b.limitedTill
	b.updateModelAndState(a, &s)
	b.setPacingRate()
	b.setCwnd(a)
}

// updateModelAndState is UpdateModelAndState (§5.2.3).
func (b *bbr) updateModelAndState(a *Ack, s *Sample) {
	b.updateLatestDeliverySignals(s)
	b.updateCongestionSignals(s)
	b.updateACKAggregation(a)
	b.checkFullBwReached(s)
	b.checkStartupDone(s)
	b.checkDrainDone(a)
	b.updateProbeBwCyclePhase(a, s)
	b.updateMinRTT(a)
	b.checkProbeRTT(a, s)
	b.advanceLatestDeliverySignals(s)
	b.noteGain()
	b.boundBwForModel()
}

// begin takes what the handshake tells (§5.2.1): "BBR.min_rtt = C.srtt ? C.srtt : Infinity".
func (b *bbr) begin(now sched.Time, srtt time.Duration) {
	b.minRTT, b.minRTTAt = srtt, max(now, 1)
	b.probeRTTDelay, b.probeRTTAt = srtt, max(now, 1)
	b.extraAt = now
	if srtt > 0 {
		b.initPacingRate(srtt)
	}
}

// Idle is HandleRestartFromIdle (§5.4.1): the window stays, and what goes out goes at the rate of the path.
func (b *bbr) Idle(now sched.Time, _, srtt time.Duration, _ bool) {
	if b.minRTTAt == 0 {
		b.begin(now, srtt)
	}
	b.idleRestart = true
	b.extraAt = now
	switch {
	case b.probingBw():
		b.setPacingRateWithGain(100)
	case b.state == bbrProbeRTT:
		b.checkProbeRTTDone(now)
	}
}

// SynLost: see Control.
func (b *bbr) SynLost() {
	b.initial = b.mss
	b.cwnd = b.mss
}

// SetMSS: see Control.
func (b *bbr) SetMSS(mss int) {
	lost := b.initial == b.mss
	b.mss = int32(max(mss, 1))
	if b.total == 0 && !b.recovering {
		b.initial = int32(InitialWindow(int(b.mss)))
		if lost {
			b.initial = b.mss
		}
		b.cwnd = b.initial
		if b.minRTT == 0 {
			b.initPacingRate(time.Millisecond)
		} else {
			b.initPacingRate(b.minRTT)
		}
	}
	b.cwnd = max(b.cwnd, b.mss)
}

// percent is p percent of n.
func percent(n int64, p int64) int64 {
	if n > math.MaxInt64/p {
		return infiniteRate
	}
	return n * p / 100
}

// volume is what a rate gives in a time, in bytes.
func volume(rate int64, d time.Duration) int64 {
	if rate <= 0 || d <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(rate), uint64(d))
	if hi >= uint64(time.Second) {
		return maxCwnd
	}
	q, _ := bits.Div64(hi, lo, uint64(time.Second))
	return int64(min(q, maxCwnd))
}
