package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// roundTrips sends one byte there and back again, and times each.
func roundTrips(s setup, o options) (sample, error) {
	w, err := s.open(o)
	if err != nil {
		return sample{}, err
	}
	l, err := w.listen(tcpPort)
	if err != nil {
		return sample{}, err
	}
	client, server, err := pair(w, l, tcpPort)
	if err != nil {
		return sample{}, err
	}
	go echo(server)
	var b [1]byte
	return timeTrips(o, func() error {
		if _, err := client.Write(b[:]); err != nil {
			return err
		}
		_, err := io.ReadFull(client, b[:])
		return err
	})
}

// pingPong is a round trip with nothing between the goroutines but two channels.
func pingPong(_ setup, o options) (sample, error) {
	there, back := make(chan byte, 1), make(chan byte, 1)
	go func() {
		for b := range there {
			back <- b
		}
	}()
	return timeTrips(o, func() error {
		there <- 1
		<-back
		return nil
	})
}

// busyPingPong is pingPong between goroutines that compute for as long as weir's do, so that a round trip takes as long as there: what its
// latencies are beyond that is the doing of the Go scheduler and the machine: about every 0.1 ms a second thread is woken up to look for work.
// Fewer than one in a hundred of pingPong's quick round trips meet it, but more of these.
func busyPingPong(_ setup, o options) (sample, error) {
	there, back := make(chan byte, 1), make(chan byte, 1)
	bare, err := medianTrip(setup{name: "chan"}, pingPong)
	if err != nil {
		return sample{}, err
	}
	model, _ := findSetup("weir")
	whole, err := medianTrip(model, roundTrips)
	if err != nil {
		return sample{}, err
	}
	steps := stepsOf((whole - bare) / 2)
	go func() {
		for b := range there {
			back <- compute(b, steps)
		}
	}()
	var b byte
	return timeTrips(o, func() error {
		there <- compute(b, steps)
		b = <-back
		return nil
	})
}

// medianTrip is how long a round trip takes as a rule.
func medianTrip(s setup, trips func(setup, options) (sample, error)) (time.Duration, error) {
	one, err := trips(s, options{Time: 200 * time.Millisecond})
	return time.Duration(one.More[p50] * 1e3), err
}

// compute takes a time that is in proportion to steps.
//
//go:noinline
func compute(b byte, steps int) byte {
	x := uint32(b)
	for range steps {
		x = x*1664525 + 1013904223 // each waits for the one before
	}
	return byte(x >> 24)
}

// stepsOf is how many steps compute makes in d.
func stepsOf(d time.Duration) int {
	const n = 1 << 20
	best := time.Hour
	for range 5 {
		start := time.Now()
		compute(0, n)
		best = min(best, time.Since(start))
	}
	return int(max(d, 0) * n / max(best, 1))
}

// timeTrips makes round trips for o.Time.
func timeTrips(o options, trip func() error) (sample, error) {
	for end := time.Now().Add(warmUp(o)); time.Now().Before(end); {
		if err := trip(); err != nil {
			return sample{}, err
		}
	}
	took := make([]int32, 0, 1_000_000+int(2e6*o.Time.Seconds()))
	m, err := startMeter(o)
	if err != nil {
		return sample{}, err
	}
	for last := m.start; last.Sub(m.start) < o.Time && len(took) < cap(took); {
		if err := trip(); err != nil {
			return sample{}, err
		}
		now := time.Now()
		took = append(took, int32(min(now.Sub(last), time.Second)))
		last = now
	}
	u := m.stop()
	return tripSample(took, u), nil
}

func tripSample(took []int32, u usage) sample {
	slices.Sort(took)
	at := func(q float64) float64 { return float64(quantile(took, q)) / 1e3 }
	s := sample{
		Value: u.perSecond(int64(len(took))),
		More: map[string]float64{
			p50: at(.5), p99: at(.99), p999: at(.999),
			allocsPerOp: float64(u.objects) / float64(len(took)),
		},
	}
	for _, q := range percentiles {
		s.Curve = append(s.Curve, [2]float64{q, at(q / 100)})
	}
	s.Note = fmt.Sprintf("p50 %.1f, p99 %.1f, p99.9 %.1f µs", s.More[p50], s.More[p99], s.More[p999])
	return s
}

// percentiles of the curve: dense where the tail is.
var percentiles = []float64{1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 98.5, 99, 99.3, 99.5, 99.7, 99.8, 99.9, 99.95, 99.97, 99.99}

// echo sends back what comes, and closes after EOF.
func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 4096)
	for echoOnce(c, buf) == nil {
	}
}

func echoOnce(c net.Conn, buf []byte) error {
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	_, err = c.Write(buf[:n])
	return err
}
