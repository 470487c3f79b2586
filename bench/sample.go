package main

import (
	"os"
	"runtime/metrics"
	"runtime/pprof"
	"syscall"
	"time"
)

// sample is what one run of one peer gives.
type sample struct {
	Value float64            `json:"value"`
	More  map[string]float64 `json:"more,omitempty"`  // what else was seen, by name
	Curve [][2]float64       `json:"curve,omitempty"` // a distribution: percentile, value
	Note  string             `json:"note,omitempty"`
}

// Names in sample.More.
const (
	allocsPerOp     = "allocations"
	bytesPerOp      = "bytes allocated"
	cpuPerGB        = "CPU s/GB"
	p50, p99        = "p50 µs", "p99 µs"
	p999            = "p99.9 µs"
	objectsPerEnd   = "objects"
	kernelPerEnd    = "kernel bytes"
	uncounted       = "lost uncounted"
	lossShare       = "lost %"
	perTrip         = "µs a round trip"
	perTripSegments = "segments a round trip"
	perSegment      = "µs a segment"
)

// meter is what the process has used since it was started.
type meter struct {
	start          time.Time
	cpu            time.Duration
	objects, bytes uint64
}

func startMeter(o options) (*meter, error) {
	if o.Profile != "" {
		f, err := os.Create(o.Profile)
		if err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, err
		}
	}
	m := &meter{cpu: cpuTime()}
	m.objects, m.bytes = allocated()
	m.start = time.Now()
	return m, nil
}

// usage is what was used between start and stop of a meter.
type usage struct {
	elapsed, cpu   time.Duration
	objects, bytes uint64
}

func (m *meter) stop() usage {
	u := usage{elapsed: time.Since(m.start), cpu: cpuTime() - m.cpu}
	u.objects, u.bytes = allocated()
	u.objects -= m.objects
	u.bytes -= m.bytes
	pprof.StopCPUProfile()
	return u
}

func (u usage) perSecond(n int64) float64 { return float64(n) / u.elapsed.Seconds() }

// cpuTime is the processor time of this process, the kernel's work for it included.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// allocated is how many objects and bytes the heap has given out, tiny objects included.
func allocated() (objects, bytes uint64) {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/tiny/allocs:objects"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64(), s[2].Value.Uint64()
}
