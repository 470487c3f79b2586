package cc

// maxBandwidth is BBR.max_bw.
func (b *bbr) maxBandwidth() int64 { return max(b.maxBw[0], b.maxBw[1]) }

// boundBwForModel is BoundBWForModel (§5.5.10.3).
func (b *bbr) boundBwForModel() { b.bw = min(b.maxBandwidth(), b.bwShort) }

// updateRound is UpdateRound (§5.5.1): a round trip is over when a packet is acknowledged that was sent after it began.
func (b *bbr) updateRound(s *Sample) {
	b.roundStart = s.Interval > 0 && s.Prior >= b.nextRound
	if b.roundStart {
		b.startRound()
		b.rounds++
		b.roundsSinceProbe = min(b.roundsSinceProbe, 254) + 1
	}
}

func (b *bbr) startRound() { b.nextRound = b.total }

// updateMaxBw is UpdateMaxBw (§5.5.5). What the application has limited counts only if it shows that the estimate is too low.
func (b *bbr) updateMaxBw(s *Sample) {
	b.updateRound(s)
	if s.Rate > 0 && (s.Rate >= b.maxBandwidth() || !s.AppLimited) {
		b.maxBw[1] = max(b.maxBw[1], s.Rate)
	}
}

// advanceMaxBwFilter is AdvanceMaxBwFilter (§5.5.6). A cycle without a sample forgets nothing.
func (b *bbr) advanceMaxBwFilter() {
	if b.maxBw[1] > 0 {
		b.maxBw[0], b.maxBw[1] = b.maxBw[1], 0
	}
}

// updateMinRTT is UpdateMinRTT (§5.3.4.3).
func (b *bbr) updateMinRTT(a *Ack) {
	b.probeRTTDue = a.Now > b.probeRTTAt.Add(probeRTTInterval)
	if a.RTT > 0 && (a.RTT < b.probeRTTDelay || b.probeRTTDelay == 0 || b.probeRTTDue) {
		b.probeRTTDelay, b.probeRTTAt = a.RTT, a.Now
	}
	expired := a.Now > b.minRTTAt.Add(minRTTFilterLen)
	if b.probeRTTDelay > 0 && (b.probeRTTDelay < b.minRTT || b.minRTT == 0 || expired) {
		b.minRTT, b.minRTTAt = b.probeRTTDelay, b.probeRTTAt
	}
}

// updateACKAggregation is UpdateACKAggregation (§5.5.9): how much more is acknowledged at once than the bandwidth explains.
func (b *bbr) updateACKAggregation(a *Ack) {
	expected := volume(b.bw, a.Now.Sub(b.extraAt))
	if b.extraDelivered <= expected {
		b.extraDelivered, b.extraAt, expected = 0, a.Now, 0
	}
	b.extraDelivered = min(b.extraDelivered+int64(a.Delivered), maxCwnd)
	extra := int32(min(b.extraDelivered-expected, int64(b.cwnd)))

	// A filter of two halves is enough, and forgets after one to two of them.
	half := uint8(1)
	if b.fullBwReached {
		half = extraFilterLen / 2
	}
	if b.roundStart {
		b.extraRounds++
		if b.extraRounds >= half {
			b.extraRounds = 0
			b.extra[0], b.extra[1] = b.extra[1], 0
		}
	}
	b.extra[1] = max(b.extra[1], extra)
}

// extraAcked is BBR.extra_acked.
func (b *bbr) extraAcked() int64 { return int64(max(b.extra[0], b.extra[1])) }
