package sim

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// TestResponse holds Reno and CUBIC under random loss to the response functions, within 20 %, over at least 100 losses each. In segments
// that are in flight on average, where p is the probability that one is lost:
//
//   - Reno: √(3/2)/√p, that is 1.22/√p (RFC 9438 §4.3 with α = 1 and β = 0.5; RFC 5681's additive increase and multiplicative decrease).
//     It is the function without delayed ACKs: windows grow by bytes acknowledged (RFC 3465), however many ACKs there are.
//   - CUBIC where windows or round trips are short: the same (RFC 9438 §4.3, the Reno-friendly region).
//   - CUBIC else: (C·(3+β)/(4·(1-β)))^¼ · (RTT/p)^¾, that is 1.054·(RTT/p)^¾ (RFC 9438 §5.1).
func TestResponse(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	reno := func(p, _ float64) float64 { return math.Sqrt(1.5 / p) }
	cubic := func(p, rtt float64) float64 { return math.Pow(0.4*3.7/(4*0.3), 0.25) * math.Pow(rtt/p, 0.75) }
	for _, tt := range []struct {
		control string
		p       float64
		rtt     time.Duration
		window  func(p, rtt float64) float64
	}{
		{"reno", .0005, 20 * time.Millisecond, reno},
		{"reno", .001, 20 * time.Millisecond, reno},
		{"reno", .003, 20 * time.Millisecond, reno},
		{"reno", .01, 20 * time.Millisecond, reno},
		{"reno", .001, 100 * time.Millisecond, reno},
		{"cubic", .0005, 20 * time.Millisecond, reno},
		{"cubic", .001, 20 * time.Millisecond, reno},
		{"cubic", .003, 20 * time.Millisecond, reno},
		{"cubic", .01, 20 * time.Millisecond, reno},
		{"cubic", .0005, 300 * time.Millisecond, cubic},
		{"cubic", .001, 400 * time.Millisecond, cubic},
		{"cubic", .003, 800 * time.Millisecond, cubic},
	} {
		t.Run(fmt.Sprintf("%s/%g/%v", tt.control, tt.p, tt.rtt), func(t *testing.T) {
			t.Parallel()
			want := tt.window(tt.p, tt.rtt.Seconds())
			const losses = 200
			rounds := time.Duration(losses / tt.p / want)
			rate := int64(8 * want * 1500 * 8 / tt.rtt.Seconds()) // no limit, but for the first slow start
			c := cell{route: route{"a wide path", rate, tt.rtt}, loss: tt.p, queue: 1, flows: []string{tt.control}, start: 150 * tt.rtt, time: rounds * tt.rtt}
			stats, err := c.run()
			if err != nil {
				t.Fatal(err)
			}
			got := stats[0].Throughput() / 8 / 1500 * tt.rtt.Seconds()
			if stats[0].Retransmits < 100 || got < want*.8 || got > want*1.2 {
				t.Errorf("%.1f segments in flight over %d losses, %.1f expected", got, stats[0].Retransmits, want)
			}
			t.Logf("%.1f segments in flight over %d losses, %.1f expected", got, stats[0].Retransmits, want)
		})
	}
}
