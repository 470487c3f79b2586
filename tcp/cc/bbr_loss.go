package cc

import "github.com/weirnet/weir/sched"

// accelerating is IsProbingBW (§5.3.3.9).
func (b *bbr) accelerating() bool {
	return b.state == bbrStartup || b.state == bbrRefill || b.state == bbrUp
}

// updateLatestDeliverySignals is UpdateLatestDeliverySignals (§5.5.10.3).
func (b *bbr) updateLatestDeliverySignals(s *Sample) {
	b.lossRoundStart = false
	b.bwLatest = max(b.bwLatest, s.Rate)
	b.inflightLatest = max(b.inflightLatest, int32(min(s.Delivered, maxCwnd)))
	if s.Interval > 0 && s.Prior >= b.lossRound {
		b.lossRound = b.total
		b.lossRoundStart = true
	}
}

// advanceLatestDeliverySignals is AdvanceLatestDeliverySignals (§5.5.10.3).
func (b *bbr) advanceLatestDeliverySignals(s *Sample) {
	if b.lossRoundStart {
		b.bwLatest, b.inflightLatest = s.Rate, int32(min(s.Delivered, maxCwnd))
	}
}

// resetCongestionSignals is ResetCongestionSignals (§5.5.10.3).
func (b *bbr) resetCongestionSignals() { b.lossInRound, b.bwLatest, b.inflightLatest = false, 0, 0 }

// resetShortTermModel is ResetShortTermModel (§5.5.10.3).
func (b *bbr) resetShortTermModel() { b.bwShort, b.inflightShort = infiniteRate, Infinite }

// updateCongestionSignals is UpdateCongestionSignals (§5.5.10.3).
func (b *bbr) updateCongestionSignals(s *Sample) {
	b.updateMaxBw(s)
	if !b.lossRoundStart {
		return // "wait until end of round trip"
	}
	// What was sent in ProbeRTT was held back by its window, and says nothing of what the path delivers: the draft marks it as limited by
	// the application (§5.3.4.3), and "a non-application-limited round trip" is what is to be responded to (§5.3.3.8.3).
	if s.Prior >= b.limitedTill && (!b.tolerant || b.isInflightTooHigh(s.Lost, s.InFlight)) {
		b.adaptLowerBounds()
	}
	b.lossInRound = false
}

// adaptLowerBounds is AdaptLowerBoundsFromCongestion with InitLowerBounds and LossLowerBounds (§5.5.10.3): after a round trip with a
// loss, down to what was delivered in it, but not by more than β. The window from which that begins is the one before a recovery that
// has reduced it.
func (b *bbr) adaptLowerBounds() {
	if b.accelerating() || !b.lossInRound {
		return
	}
	if b.bwShort == infiniteRate {
		b.bwShort = b.maxBandwidth()
	}
	if b.inflightShort == Infinite {
		b.inflightShort = b.cwnd
		if b.recovering {
			b.inflightShort = max(b.cwnd, b.priorCwnd)
		}
	}
	b.bwShort = max(b.bwLatest, b.used(b.bwLatest, b.bwShort), percent(b.bwShort, bbrBeta))
	volume := max(b.inflightLatest, int32(b.used(int64(b.inflightLatest), int64(b.inflightShort))))
	b.inflightShort = max(volume, int32(percent(int64(b.inflightShort), bbrBeta)))
}

// used is what was delivered, BBR.bw_latest or BBR.inflight_latest, as it would be without what the flow has left unused by its own
// choice, with the pacing margin and in Drain and DOWN, up to the bound from before. The draft takes it as it is, but what it wants is
// that "the steady-state (non-bandwidth-probing) BBR response to a non-application-limited round trip with X% packet loss is to reduce the
// sending rate by X%" (§5.3.3.8.3), not by X% and the margin: a hundredth a round trip is half of the rate after 70 of them.
func (b *bbr) used(delivered, bound int64) int64 {
	gain := int64(min(b.sentGain, b.ackedGain, 100)) * (100 - pacingMargin)
	return min(delivered*10000/gain, bound)
}

// noteGain keeps the least gain of this round trip of losses and of the one before, in which was sent what this one acknowledges.
func (b *bbr) noteGain() {
	if b.lossRoundStart {
		b.ackedGain, b.sentGain = b.sentGain, 255
	}
	b.sentGain = uint8(min(int64(b.sentGain), b.pacingGain()))
}

// Lost is HandleLostPacket (§5.5.10.2).
func (b *bbr) Lost(p LostPacket) {
	b.total = p.Total
	b.noteLoss()
	b.lossEvents = min(b.lossEvents, 254) + 1
	if !b.probeSample || !b.isInflightTooHigh(p.Lost, p.InFlight) {
		return
	}
	b.handleInflightTooHigh(p.Now, inflightAtLoss(&p), p.AppLimited || p.Prior < b.limitedTill)
}

// noteLoss is NoteLoss (§5.5.10.2).
func (b *bbr) noteLoss() {
	if !b.lossInRound {
		b.lossRound = b.total
		b.saveStateUponLoss()
	}
	b.lossInRound = true
}

// isInflightTooHigh is IsInflightTooHigh (§5.5.10.2), with two segments more than the draft has before it is true: a fiftieth of a hundred
// segments are two, and where one of a hundred is lost at random there are more than that in every tenth window. Each of these would take
// the bound down, in a smaller window chance is greater still, and the flow would not get out of there.
func (b *bbr) isInflightTooHigh(lost, inFlight int) bool {
	return int64(lost-2*int(b.mss))*100 > int64(inFlight)*lossThresh || lost > 0 && b.noSACK
}

// handleInflightTooHigh is HandleInflightTooHigh (§5.5.10.2).
func (b *bbr) handleInflightTooHigh(now sched.Time, inFlight int64, appLimited bool) {
	b.tooHigh = true
	b.probeSample = false // "only react once per bw probe"
	if !appLimited {
		b.inflightLong = int32(max(inFlight, percent(b.targetInflight(), bbrBeta)))
	}
	if b.state == bbrUp {
		b.undoState = bbrUp
		b.startDown(now)
	}
}

// inflightAtLoss is InflightAtLoss (§5.5.10.2): how much was in flight with that part of a burst with which the losses became too many.
func inflightAtLoss(p *LostPacket) int64 {
	before := int64(max(p.InFlight-p.Bytes, 0))
	lost := int64(max(p.Lost-p.Bytes, 0))
	return min(before+max((lossThresh*before-100*lost)/(100-lossThresh), 0), maxCwnd)
}

// saveStateUponLoss is SaveStateUponLoss (§5.5.11.1).
func (b *bbr) saveStateUponLoss() {
	b.saveCwnd()
	b.undoState = bbrNone
	b.undoBwShort, b.undoInflightShort, b.undoInflightLong = b.bwShort, b.inflightShort, b.inflightLong
}

// Congestion is OnEnterFastRecovery (§5.6.4.4). What was lost has been noted already, packet by packet. A mark is a sign of congestion like
// a loss (§3.7); in a probe, one that says that there was too much in flight.
func (b *bbr) Congestion(now sched.Time, flight int, cause Cause) {
	b.noteLoss()
	b.recovering = true
	if cause != Mark {
		return
	}
	switch {
	case b.state == bbrStartup && !b.fullBwReached:
		b.leaveStartupTooHigh()
	case b.probeSample:
		b.handleInflightTooHigh(now, int64(flight), false)
	}
}

// Timeout is OnEnterRTO (§5.6.4.4): the window allows one segment.
func (b *bbr) Timeout(_ sched.Time, _ int, again bool) {
	if !again {
		b.noteLoss()
	}
	b.recovering = true
	b.cwnd = b.mss
}

// Recovered restores the window at the end of a recovery (§5.6.4.4).
func (b *bbr) Recovered(sched.Time) {
	b.restoreCwnd()
	b.recovering = false
}

// Undo is HandleSpuriousLossDetection (§5.5.11.2).
func (b *bbr) Undo(now sched.Time) {
	b.restoreCwnd()
	b.recovering, b.lossInRound = false, false
	b.resetFullBw()
	b.bwShort = max(b.bwShort, b.undoBwShort)
	b.inflightShort = max(b.inflightShort, b.undoInflightShort)
	b.inflightLong = max(b.inflightLong, b.undoInflightLong)
	switch {
	case b.undoState == bbrStartup && b.state != bbrStartup:
		b.fullBwReached = false
		if b.state != bbrProbeRTT {
			b.enterStartup()
		}
	case b.undoState == bbrUp && b.state != bbrUp && b.state != bbrProbeRTT:
		b.startRefill()
	}
	b.undoState = bbrNone
}

// saveCwnd is SaveCwnd (§5.6.4.4).
func (b *bbr) saveCwnd() {
	if b.recovering || b.state == bbrProbeRTT {
		b.priorCwnd = max(b.priorCwnd, b.cwnd)
		return
	}
	b.priorCwnd = b.cwnd
}

// restoreCwnd is RestoreCwnd (§5.6.4.4).
func (b *bbr) restoreCwnd() { b.cwnd = max(b.cwnd, b.priorCwnd) }
