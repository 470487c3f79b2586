package cc

import (
	"math"
	"time"
)

// The constants of RFC 9406 §4.3.
const (
	hystartMinThreshold = 4000  // µs
	hystartMaxThreshold = 16000 // µs
	hystartRTTDivisor   = 8
	hystartSamples      = 8 // N_RTT_SAMPLE
	cssGrowthDivisor    = 4
	hystartCSSRounds    = 5
)

// hystart is the state of HyStart++ (RFC 9406): it leaves the first slow start when the round trip time grows from one round to the next,
// by way of a phase of slower growth (conservative slow start, CSS) that finds out whether that was a queue building up or chance.
type hystart struct {
	last, current uint32 // µs: least RTT of the previous and of this round; 0: none
	baseline      uint32 // µs: of the round in which CSS began; 0: not in CSS
	samples       uint8  // in this round, up to hystartSamples
	rounds        uint8  // of CSS
}

func (h *hystart) reset() { *h = hystart{} }

// conservative: slow start is in CSS.
func (h *hystart) conservative() bool { return h.baseline != 0 }

// ended: CSS has lasted its rounds, and slow start is over.
func (h *hystart) ended() bool { return h.rounds >= hystartCSSRounds }

// acked takes the steps of RFC 9406 §4.2 for one ACK in slow start. The ACK with which a round ends is of a segment of that round.
func (h *hystart) acked(a *Ack) {
	h.sample(a)
	if a.Round {
		h.last, h.current, h.samples = h.current, 0, 0
		if h.conservative() {
			h.rounds++
		}
	}
}

// sample takes a round trip time, if there is one.
func (h *hystart) sample(a *Ack) {
	if a.RTT <= 0 {
		return
	}
	if us := uint32(min(max(a.RTT/time.Microsecond, 1), math.MaxUint32)); h.current == 0 || us < h.current {
		h.current = us
	}
	h.samples = min(h.samples+1, hystartSamples)
	switch {
	case h.samples < hystartSamples:
	case h.conservative():
		if h.current < h.baseline {
			h.baseline, h.rounds = 0, 0 // the growth was spurious: back to slow start
		}
	case h.last != 0 && h.current-min(h.current, h.last) >= min(max(h.last/hystartRTTDivisor, hystartMinThreshold), hystartMaxThreshold):
		h.baseline = h.current
	}
}
