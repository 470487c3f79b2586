package cc

// enterStartup is EnterStartup (§5.3.1.1).
func (b *bbr) enterStartup() { b.state = bbrStartup }

// resetFullBw is ResetFullBW (§5.3.1.2).
func (b *bbr) resetFullBw() { b.fullBw, b.fullBwCount, b.fullBwNow = 0, 0, false }

// checkFullBwReached is CheckFullBWReached (§5.3.1.2): three round trips in which the rate has grown by less than a quarter mean that
// there is no more to have.
func (b *bbr) checkFullBwReached(s *Sample) {
	if b.fullBwNow || !b.roundStart || s.AppLimited || s.Rate == 0 {
		return
	}
	if s.Rate >= percent(b.fullBw, 125) {
		b.resetFullBw()
		b.fullBw = s.Rate
		return
	}
	b.fullBwCount++
	if b.fullBwCount >= 3 {
		b.fullBwNow, b.fullBwReached = true, true
	}
}

// checkStartupDone is CheckStartupDone (§5.3.1.1).
func (b *bbr) checkStartupDone(s *Sample) {
	b.checkStartupHighLoss(s)
	if b.state == bbrStartup && b.fullBwReached {
		b.enterDrain()
	}
}

// checkStartupHighLoss leaves Startup because of losses (§5.3.1.3): after a round trip of recovery in which there were many, and more
// than a fiftieth of what was sent; without SACK, after any.
func (b *bbr) checkStartupHighLoss(s *Sample) {
	if !b.lossRoundStart {
		return
	}
	events := b.lossEvents
	b.lossEvents = 0
	if b.state != bbrStartup || b.fullBwReached || !b.recovering {
		return
	}
	if b.noSACK && events > 0 || events >= startupLossEvents && b.isInflightTooHigh(s.Lost, s.InFlight) {
		b.leaveStartupTooHigh()
	}
}

// leaveStartupTooHigh takes what was delivered in the last round trip for what the path can hold (§5.3.1.3).
func (b *bbr) leaveStartupTooHigh() {
	b.undoState = bbrStartup
	b.fullBwReached, b.fullBwNow = true, true
	b.inflightLong = int32(max(b.bdpMultiple(100), int64(b.inflightLatest)))
}

// enterDrain is EnterDrain (§5.3.2).
func (b *bbr) enterDrain() {
	b.state = bbrDrain
	b.drainStart = b.rounds
}

// checkDrainDone is CheckDrainDone (§5.3.2).
func (b *bbr) checkDrainDone(a *Ack) {
	if b.state == bbrDrain && (int64(a.Pipe) <= b.inflight(100) || b.rounds > b.drainStart+3) {
		b.startDown(a.Now)
	}
}
