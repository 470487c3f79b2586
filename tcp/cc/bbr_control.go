package cc

import "time"

// pacingGain is BBR.pacing_gain in percent (§5.6.1).
func (b *bbr) pacingGain() int64 {
	switch b.state {
	case bbrStartup:
		return startupPacingGain
	case bbrDrain:
		return 50
	case bbrDown:
		return 90
	case bbrUp:
		return 125
	}
	return 100
}

// cwndGain is BBR.cwnd_gain in percent (§5.6.1).
func (b *bbr) cwndGain() int64 {
	switch b.state {
	case bbrUp:
		return 225
	case bbrProbeRTT:
		return probeRTTGain
	}
	return 200
}

// initPacingRate is InitPacingRate (§5.6.2).
func (b *bbr) initPacingRate(srtt time.Duration) {
	b.pacingRate = max(percent(int64(b.initial)*int64(time.Second)/int64(max(srtt, 1)), startupPacingGain), 1)
}

// setPacingRate is SetPacingRate (§5.6.2).
func (b *bbr) setPacingRate() { b.setPacingRateWithGain(b.pacingGain()) }

func (b *bbr) setPacingRateWithGain(gain int64) {
	rate := percent(percent(b.bw, gain), 100-pacingMargin)
	if rate > 0 && (b.fullBwReached || rate > b.pacingRate) {
		b.pacingRate = rate
	}
}

// minPipe is BBR.MinPipeCwnd.
func (b *bbr) minPipe() int64 { return minPipeSegments * int64(b.mss) }

// bdpMultiple is BDPMultiple (§5.6.4.2), gain in percent.
func (b *bbr) bdpMultiple(gain int64) int64 {
	if b.minRTT == 0 {
		return int64(b.initial)
	}
	return min(percent(volume(b.bw, b.minRTT), gain), maxCwnd)
}

// quantized is QuantizationBudget (§5.6.4.2): at least what keeps sender and receiver busy, who handle several segments at once.
func (b *bbr) quantized(n int64) int64 {
	n = max(n, 3*int64(Quantum(b.pacingRate, int(b.mss))), b.minPipe()) // §5.5.8.1: BBR.offload_budget
	if b.state == bbrUp {
		n += 2 * int64(b.mss)
	}
	return n
}

// inflight is Inflight (§5.6.4.2), gain in percent.
func (b *bbr) inflight(gain int64) int64 { return b.quantized(b.bdpMultiple(gain)) }

// targetInflight is TargetInflight (§5.3.3.8.3).
func (b *bbr) targetInflight() int64 { return min(b.bdpMultiple(100), int64(b.cwnd)) }

// inflightWithHeadroom is InflightWithHeadroom (§5.3.3.9).
func (b *bbr) inflightWithHeadroom() int64 {
	if b.inflightLong == Infinite {
		return Infinite
	}
	n := int64(b.inflightLong)
	return max(n-max(int64(b.mss), percent(n, headroom)), b.minPipe())
}

// setCwnd is SetCwnd (§5.6.4.6).
func (b *bbr) setCwnd(a *Ack) {
	most := b.quantized(b.bdpMultiple(b.cwndGain()) + b.extraAcked()) // UpdateMaxInflight
	n := int64(b.cwnd)
	switch {
	case b.fullBwReached:
		n = min(n+int64(a.Delivered), most)
	case n < most || a.Total < uint64(b.initial):
		n += int64(a.Delivered)
	}
	n = max(n, b.minPipe())
	if b.state == bbrProbeRTT {
		n = min(n, b.probeRTTCwnd())
	}
	b.cwnd = int32(min(b.boundCwndForModel(n), maxCwnd))
}

// boundCwndForModel is BoundCwndForModel (§5.6.4.7).
func (b *bbr) boundCwndForModel(n int64) int64 {
	limit := int64(Infinite)
	switch {
	case b.state == bbrProbeRTT || b.state == bbrCruise:
		limit = b.inflightWithHeadroom()
	case b.probingBw():
		limit = int64(b.inflightLong)
	}
	return min(n, max(min(limit, int64(b.inflightShort)), b.minPipe()))
}
