package cc

import "github.com/weirnet/weir/sched"

// checkProbeRTT is CheckProbeRTT (§5.3.4.3).
func (b *bbr) checkProbeRTT(a *Ack, s *Sample) {
	if b.state != bbrProbeRTT && b.probeRTTDue && !b.idleRestart {
		b.saveCwnd()
		b.state = bbrProbeRTT
		b.probeRTTDone = 0
		b.acks = acksStopping
		b.startRound()
	}
	if b.state == bbrProbeRTT {
		b.handleProbeRTT(a)
	}
	if s.Delivered > 0 {
		b.idleRestart = false
	}
}

// handleProbeRTT is HandleProbeRTT (§5.3.4.3).
func (b *bbr) handleProbeRTT(a *Ack) {
	b.limitedTill = a.Total + uint64(a.Pipe) // "Ignore low rate samples during ProbeRTT"
	switch {
	case b.probeRTTDone == 0:
		if int64(a.Pipe) <= b.probeRTTCwnd() {
			b.probeRTTDone = a.Now.Add(probeRTTDuration)
			b.probeRTTRound = false
			b.startRound()
		}
	default:
		b.probeRTTRound = b.probeRTTRound || b.roundStart
		if b.probeRTTRound {
			b.checkProbeRTTDone(a.Now)
		}
	}
}

// checkProbeRTTDone is CheckProbeRTTDone (§5.3.4.3).
func (b *bbr) checkProbeRTTDone(now sched.Time) {
	if b.probeRTTDone == 0 || now <= b.probeRTTDone {
		return
	}
	b.probeRTTAt = now
	b.restoreCwnd()
	b.exitProbeRTT(now)
}

// exitProbeRTT is ExitProbeRTT (§5.3.4.4).
func (b *bbr) exitProbeRTT(now sched.Time) {
	b.resetShortTermModel()
	if !b.fullBwReached {
		b.enterStartup()
		return
	}
	b.startDown(now)
	b.state = bbrCruise
}

// probeRTTCwnd is ProbeRTTCwnd (§5.6.4.5).
func (b *bbr) probeRTTCwnd() int64 { return max(b.bdpMultiple(probeRTTGain), b.minPipe()) }
