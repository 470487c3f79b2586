package main

import (
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/weirnet/weir"
)

// Names in the sample of the work million, besides its value.
const (
	gcPer100k    = "GC ms per 100,000"
	longestStop  = "longest stop ms"
	leftFlows    = "flows left"
	leftRoutines = "goroutines left"
	leftHeap     = "heap left per end"
	opened       = "opened/s"
	echoed       = "echoed/s"
	peakRSS      = "peak RSS, GB"
	heapEnd      = "heap per end"
)

// memoryLimit is what the runtime is told to keep to in the work million, as GOMEMLIMIT would; with fewer connections in proportion.
func memoryLimit(conns int) int64 {
	return max(64<<20, int64(2.2*(1<<30)*float64(conns)/1e6))
}

// patience is how long what is left of closed connections may take to go: TIME-WAIT lasts a minute.
const patience = 3 * time.Minute

// million has o.Conns established connections, both ends in this process, each of which echoes a byte once; then it closes them all.
func million(s setup, o options) (sample, error) {
	debug.SetMemoryLimit(memoryLimit(o.Conns))
	routines := runtime.NumGoroutine()
	opener, err := openWeir(o)
	if err != nil {
		return sample{}, err
	}
	w := opener.(*weirWorld)
	m := &crowd{w: w, held: make([]*weir.TCPConn, 0, 2*o.Conns), more: map[string]float64{}}
	before := settledHeap()
	for _, step := range []struct {
		name string
		do   func(conns int) error
	}{{opened, m.open}, {echoed, m.echo}} {
		start := time.Now()
		if err := step.do(o.Conns); err != nil {
			return sample{}, err
		}
		m.more[step.name] = float64(o.Conns) / time.Since(start).Seconds()
	}
	full, worst := timeGC(3)
	m.more[gcPer100k] = full.Seconds() * 1e3 * 1e5 / float64(o.Conns)
	m.more[longestStop] = worst.Seconds() * 1e3
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	m.more[heapEnd] = float64(after.HeapAlloc-before.HeapAlloc) / float64(2*o.Conns)
	rss := float64(procField("/proc/self/status", "VmRSS:")) * 1024 / 1e9
	if err := m.turns(o); err != nil {
		return sample{}, err
	}
	m.more[peakRSS] = float64(procField("/proc/self/status", "VmHWM:")) * 1024 / 1e9
	m.close()
	m.awaitNothing()
	empty := settledHeap()
	m.more[leftHeap] = (float64(empty.HeapAlloc) - float64(before.HeapAlloc)) / float64(2*o.Conns)
	w.a.Close()
	w.b.Close()
	m.more[leftRoutines] = float64(runtime.NumGoroutine() - routines)
	return sample{Value: rss, More: m.more, Note: m.note(o.Conns)}, nil
}

// crowd is many connections: the two ends of each follow one another.
type crowd struct {
	w    *weirWorld
	held []*weir.TCPConn
	more map[string]float64
}

func (m *crowd) open(conns int) error {
	return establish(m.w, conns, func(client, server net.Conn) {
		m.held = append(m.held, client.(*weir.TCPConn), server.(*weir.TCPConn))
	})
}

func (m *crowd) echo(int) error {
	b := make([]byte, 1)
	for i := 0; i < len(m.held); i += 2 {
		if err := trip(m.held[i], m.held[i+1], b); err != nil {
			return fmt.Errorf("connection %d: %w", i/2, err)
		}
	}
	return nil
}

// turns measures what segments and round trips cost now.
func (m *crowd) turns(o options) error {
	all, err := turns(m.w, o, func(i int) (client, server net.Conn) { return m.held[2*i], m.held[2*i+1] })
	var segment, trips, segments []float64
	for _, s := range all {
		segment, trips, segments = append(segment, s.Value), append(trips, s.More[perTrip]), append(segments, s.More[perTripSegments])
	}
	m.more[perSegment], m.more[perTrip], m.more[perTripSegments] = median(segment), median(trips), median(segments)
	return err
}

func (m *crowd) close() {
	for i, c := range m.held {
		c.Close()
		m.held[i] = nil
	}
}

// awaitNothing waits until there is no flow, and says what is left.
func (m *crowd) awaitNothing() {
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		flows := m.w.a.Stats().Flows + m.w.b.Stats().Flows
		if flows == 0 || time.Since(start) > patience {
			m.more[leftFlows] = float64(flows)
			return
		}
	}
}

func (m *crowd) note(conns int) string {
	return fmt.Sprintf("%d connections, limit %.2f GB; %.0f opened/s, %.0f echoed/s, heap %.0f bytes per end; GC %.0f ms per 100,000, longest stop %.2f ms; %.2f µs a segment, %.2f µs and %.2f segments a round trip; after close %.0f flows, %.0f goroutines, %.1f bytes per end",
		conns, float64(memoryLimit(conns))/1e9, m.more[opened], m.more[echoed], m.more[heapEnd], m.more[gcPer100k], m.more[longestStop],
		m.more[perSegment], m.more[perTrip], m.more[perTripSegments],
		m.more[leftFlows], m.more[leftRoutines], m.more[leftHeap])
}
