package main

import (
	"fmt"
	"strings"
	"time"
)

// test is one line of measurements: a work, its options, and who takes part. Its rows are what the table says of it.
type test struct {
	id      string // work, or work/variant
	work    string
	options options
	entries []entry // the first is weir, which the others are compared with
	rows    []row
	runs    int  // if not 0, no more than so many
	atOnce  bool // the entries run at the same time: they leave the processors idle
	plot    plotPoint
}

// entry is who takes part.
type entry struct {
	setup  string
	label  string         // "": the set-up's name
	adjust func(*options) // what is different for it
	alone  bool           // in a test whose entries run at the same time: not this one, it has a processor to itself
}

func (e entry) name() string {
	if e.label != "" {
		return e.label
	}
	return e.setup
}

func over(setups ...string) (list []entry) {
	for _, s := range setups {
		list = append(list, entry{setup: s})
	}
	return list
}

// row is one figure of a test: its value, or one of sample.More.
type row struct {
	title string
	key   string // in sample.More; "": the value
	unit  string
	lower bool // less is better
	asks  []ask
}

// ask is what the issue demands of weir's median.
type ask struct {
	times float64 // of the peer's median; without a peer, the figure itself
	peer  string  // a label, or what stands in front of its slash: the best of those
	test  string  // instead of a peer: weir's own median in another test
}

// plotPoint says where the test's value goes in a plot.
type plotPoint struct {
	plot string
	x    float64
	key  string // in sample.More; "": the value
}

// scale is how much is measured.
type scale struct {
	Time      time.Duration `json:"time"` // of one run
	LossyTime time.Duration `json:"lossyTime"`
	CostTime  time.Duration `json:"costTime"` // of one of the windows of conns and timers
	Conns     int           `json:"conns"`    // idle ones of weir
	Few       int           `json:"few"`      // those of a peer that is slow or has few files
	Many      int           `json:"many"`     // the million
}

var (
	fullScale  = scale{500 * time.Millisecond, 10 * time.Second, 200 * time.Millisecond, 100_000, 10_000, 1_000_000}
	quickScale = scale{60 * time.Millisecond, time.Second, 20 * time.Millisecond, 2_000, 500, 20_000}
)

// tests are all there are, in the order of the table.
func tests(c scale) []test {
	var all []test
	for _, part := range [][]test{
		bulkTests(), tunTests(), rrTests(), crrTests(), udpTests(), forwardTests(), idleTests(c), millionTests(c), binaryTests(), lossyTests(c), costTests(c),
	} {
		all = append(all, part...)
	}
	for i := range all {
		if all[i].options.Time == 0 {
			all[i].options.Time = c.Time
		}
	}
	return all
}

func streams(n int) func(*options) { return func(o *options) { o.Streams = n } }

func conns(n int) func(*options) { return func(o *options) { o.Conns = n } }

func bulkTests() []test {
	all := []test{
		{id: "bulk/1500", work: "bulk", options: options{MTU: 1500},
			entries: over("weir", "gvisor/pipe", "gvisor/channel", "gvisor/gso", "kernel/veth-plain"),
			rows: []row{
				{title: "one stream, packets of 1500 bytes, checksums, no offload", unit: "GB/s", asks: []ask{{times: 4, peer: "gvisor/channel"}, {times: 2, peer: "gvisor/gso"}, {times: 2, peer: "kernel/veth-plain"}}},
				{title: "… allocations per packet", key: allocsPerOp, lower: true, asks: []ask{{times: 0}}},
			}},
		{id: "bulk/super", work: "bulk",
			entries: over("weir", "gvisor/pipe", "gvisor/channel", "gvisor/host-gso", "kernel/lo", "kernel/veth"),
			rows: []row{
				{title: "one stream, super-segments, in process", unit: "GB/s", asks: []ask{{times: 2, peer: "gvisor"}, {times: 2, peer: "kernel/lo"}}},
			}},
		{id: "bulk/1500x8", work: "bulk", options: options{MTU: 1500, Streams: 8},
			entries: append([]entry{{setup: "weir"}, {setup: "weir", label: "weir, one stream", adjust: streams(1)}}, over("gvisor/gso", "kernel/veth-plain")...),
			rows:    []row{{title: "8 streams, packets of 1500 bytes", unit: "GB/s", asks: []ask{{times: 1, peer: "weir, one stream"}}}}},
		{id: "bulk/superx8", work: "bulk", options: options{Streams: 8},
			entries: append([]entry{{setup: "weir"}, {setup: "weir", label: "weir, one stream", adjust: streams(1)}}, over("gvisor/host-gso", "kernel/lo")...),
			rows:    []row{{title: "8 streams, super-segments", unit: "GB/s", asks: []ask{{times: 1, peer: "weir, one stream"}}}}},
	}
	for _, size := range []int{576, 1500, 4000, 9000, 16000, 32000, 65535} {
		all = append(all, test{id: fmt.Sprintf("bulk/size/%d", size), work: "bulk", options: options{MTU: size},
			entries: over("weir", "gvisor/channel", "gvisor/gso", "kernel/veth-plain"), runs: 3, plot: plotPoint{plot: "size", x: float64(size)}})
	}
	return all
}

func tunTests() []test {
	one := func(id, title string, reverse bool) test {
		return test{id: "tun/" + id, work: "tun", options: options{Reverse: reverse},
			entries: over("weir/tun", "gvisor/fdbased", "gvisor/fdbased-gro", "gvisor/vnet", "kernel/veth"),
			rows: []row{
				{title: title + " over TUN, MTU 1500", unit: "GB/s", asks: []ask{{times: 10, peer: "gvisor/fdbased"}, {times: 1.35, peer: "gvisor/vnet"}}},
				{title: "… processor time, kernel's included", key: cpuPerGB, unit: "s/GB", lower: true, asks: []ask{{times: .75, peer: "gvisor/vnet"}}},
			}}
	}
	plain := func(id, title, limit, tcp string, reverse bool) test {
		return test{id: "tun/plain-" + id, work: "tun", options: options{MTU: 1500, Reverse: reverse},
			entries: over("weir/tun-plain", limit, tcp, "gvisor/fdbased", "gvisor/fdbased-gro"),
			rows:    []row{{title: title + " over TUN without offloads", unit: "GB/s", asks: []ask{{times: .85, peer: limit}, {times: .85, peer: tcp}}}}}
	}
	return []test{
		one("in", "kernel → stack", false), one("out", "stack → kernel", true),
		plain("in", "kernel → stack", "limit/read", "limit/tcp-in", false), plain("out", "stack → kernel", "limit/write", "limit/tcp-out", true),
	}
}

func rrTests() []test {
	return []test{{id: "rr", work: "rr", entries: over("weir", "gvisor/pipe", "gvisor/channel", "kernel/lo", "chan", "chan/work"),
		rows: []row{
			{title: "1-byte round trips in process", unit: "/s", asks: []ask{{times: 3, peer: "gvisor"}, {times: 1.8, peer: "kernel/lo"}}},
			{title: "… median", key: p50, unit: "µs", lower: true},
			{title: "… 99th percentile", key: p99, unit: "µs", lower: true, asks: []ask{{times: 1, peer: "kernel/lo"}}},
			{title: "… 99.9th percentile", key: p999, unit: "µs", lower: true},
			{title: "… allocations per round trip", key: allocsPerOp, lower: true, asks: []ask{{times: 0}}},
		}}}
}

func crrTests() (all []test) {
	for _, clients := range []int{1, 8} {
		t := test{id: fmt.Sprintf("crr/%d", clients), work: "crr", options: options{Clients: clients},
			entries: over("weir", "gvisor/pipe", "gvisor/channel", "kernel/lo"),
			rows:    []row{{title: fmt.Sprintf("connect … close, clients: %d", clients), unit: "/s", asks: []ask{{times: 3, peer: "gvisor"}, {times: 2, peer: "kernel/lo"}}}}}
		if clients == 1 {
			t.rows = append(t.rows,
				row{title: "… allocations per connection, both ends", key: allocsPerOp, lower: true, asks: []ask{{times: 12}}},
				row{title: "… bytes allocated per connection, both ends", key: bytesPerOp, lower: true})
		}
		all = append(all, t)
	}
	return all
}

func udpTests() []test {
	return []test{{id: "udp", work: "udp", entries: over("weir", "gvisor/pipe", "gvisor/channel", "gvisor/host-gso", "kernel/lo"),
		rows: []row{
			{title: "UDP, 64 bytes, call by call, delivered", unit: "/s", asks: []ask{{times: 3, peer: "gvisor"}}},
			{title: "… lost and not counted", key: uncounted, unit: "datagrams", lower: true, asks: []ask{{times: 0}}},
			{title: "… allocations per datagram", key: allocsPerOp, lower: true, asks: []ask{{times: 0}}},
		}},
		{id: "udpbatch", work: "udpbatch",
			entries: append([]entry{{setup: "weir"}, {setup: "weir", label: "weir, SetGRO", adjust: func(o *options) { o.GRO = true }}},
				over("gvisor/pipe", "gvisor/channel", "gvisor/host-gso", "kernel/lo")...),
			rows: []row{
				{title: "UDP, 64 bytes, 64 a call (gVisor: call by call), delivered", unit: "/s", asks: []ask{{times: 9, peer: "gvisor"}}},
				{title: "… lost and not counted", key: uncounted, unit: "datagrams", lower: true, asks: []ask{{times: 0}}},
				{title: "… allocations per datagram", key: allocsPerOp, lower: true, asks: []ask{{times: 0}}},
			}},
	}
}

func idleTests(c scale) []test {
	entries := func(n int) []entry {
		few := min(n, c.Few)
		return []entry{{setup: "weir", adjust: conns(n)}, {setup: "gvisor/pipe", adjust: conns(few)}, {setup: "kernel/lo", adjust: conns(few)}}
	}
	all := []test{{id: "idle", work: "idle", entries: entries(c.Conns),
		rows: []row{
			{title: fmt.Sprintf("idle connection, heap per end (weir at %d, peers at %d)", c.Conns, c.Few), unit: "bytes", lower: true, asks: []ask{{times: 800}}},
			{title: "… objects per end", key: objectsPerEnd, lower: true, asks: []ask{{times: 2}}},
			{title: "… in the kernel, per end", key: kernelPerEnd, unit: "bytes", lower: true},
			{title: "… full garbage collection, per 100,000", key: gcPer100k, unit: "ms", lower: true, asks: []ask{{times: 150}}},
		}},
	}
	for _, r := range []struct{ setup, title string }{{"weir/time-wait", "connection in TIME-WAIT, at the server"}, {"weir/time-wait-client", "connection in TIME-WAIT, at a client whose local ports are several connections'"}, {"weir/handshake", "connection in SYN-RECEIVED"}} {
		all = append(all, test{id: "records" + strings.TrimPrefix(r.setup, "weir"), work: "records", runs: 1, options: options{Conns: c.Conns}, entries: over(r.setup),
			rows: []row{{title: r.title + ", heap with table entry and timer (by five counts)", unit: "bytes", lower: true, asks: []ask{{times: 96}}}}})
	}
	for n := max(1, c.Conns/100); n <= c.Conns; n *= 10 {
		all = append(all, test{id: fmt.Sprintf("idle/%d", n), work: "idle", runs: 1, entries: entries(n), plot: plotPoint{plot: "memory", x: float64(n)}})
	}
	return all
}

func forwardTests() []test {
	return []test{{id: "forward", work: "forward", options: options{MTU: 1500}, entries: over("weir", "gvisor/pipe"),
		rows: []row{
			{title: "one stream through a router, packets of 1500 bytes, no offload", unit: "GB/s"},
			{title: "… allocations per packet", key: allocsPerOp, lower: true, asks: []ask{{times: 0}}},
		}}}
}

func millionTests(c scale) []test {
	title := fmt.Sprintf("%s established connections, both ends in one process, GOMEMLIMIT=%.1fGiB", thousands(float64(c.Many)), float64(memoryLimit(c.Many))/(1<<30))
	return []test{{id: "million", work: "million", options: options{Conns: c.Many, Time: c.CostTime}, runs: 1, entries: over("weir"), plot: plotPoint{"conns", float64(c.Many), perTrip},
		rows: []row{
			{title: title, unit: "GB RSS", lower: true, asks: []ask{{times: 2.3}}},
			{title: "… full garbage collection, per 100,000", key: gcPer100k, unit: "ms", lower: true, asks: []ask{{times: 150}}},
			{title: "… longest stop of a collection", key: longestStop, unit: "ms", lower: true},
			{title: "… opened, one after the other", key: opened, unit: "/s"},
			{title: "… echoed, one after the other", key: echoed, unit: "/s"},
			{title: "… processor time of a segment, connections taking turns", key: perSegment, unit: "µs", lower: true, asks: []ask{{times: growth, test: "conns/1"}}},
			{title: "… processor time of a round trip, connections taking turns", key: perTrip, unit: "µs", lower: true},
			{title: "… segments of a round trip: late acknowledgments are their own", key: perTripSegments},
			{title: "… heap per end, after the echo", key: heapEnd, unit: "bytes", lower: true},
			{title: "… flows left when all are closed", key: leftFlows, lower: true, asks: []ask{{times: 0}}},
			{title: "… goroutines left when the stacks are closed, too", key: leftRoutines, lower: true, asks: []ask{{times: 0}}},
			{title: "… heap left, for each end there was", key: leftHeap, unit: "bytes", lower: true, asks: []ask{{times: 8}}},
		}}}
}

func binaryTests() []test {
	return []test{{id: "binary", work: "binary", runs: 1, entries: over("weir", "gvisor/pipe", "kernel/net", "nothing"),
		rows: []row{
			{title: "a program that dials and listens, without symbols", unit: "MB", lower: true},
			{title: "… more than with Go's net", key: overNet, unit: "MB", lower: true, asks: []ask{{times: 1}}},
		}}}
}

func lossyTests(c scale) (all []test) {
	for _, l := range []struct{ percent, share float64 }{{0, .93}, {.1, .93}, {1, .85}} {
		all = append(all, test{id: fmt.Sprintf("lossy/%g", l.percent), work: "lossy", options: options{Loss: l.percent / 100, Time: c.LossyTime}, atOnce: true,
			entries: []entry{{setup: "weir/emul"}, {setup: "weir/sim", alone: true}, {setup: "kernel/emul"}},
			rows:    []row{{title: fmt.Sprintf("100 Mbit/s, 20 ms, %g %% loss, BBR", l.percent), unit: "of the link", asks: []ask{{times: l.share}}}}})
	}
	return all
}

// growth is how much dearer weir's operation may be at the far end of the plot than with one.
const growth = 2

// costTests are those up to a million connections; a million are the affair of millionTests, which have them open anyway.
func costTests(c scale) (all []test) {
	for n := 1; n < c.Many; n *= 10 {
		t := test{id: fmt.Sprintf("conns/%d", n), work: "conns", options: options{Time: c.CostTime}, runs: 1, plot: plotPoint{"conns", float64(n), perTrip},
			entries: []entry{{setup: "weir", adjust: conns(n)}}}
		if n <= c.Few {
			t.entries = append(t.entries, entry{setup: "gvisor/pipe", adjust: conns(n)}, entry{setup: "kernel/lo", adjust: conns(n)})
		}
		if n == 1 || n*10 >= c.Many {
			t.rows = []row{
				{title: fmt.Sprintf("processor time of a segment, connections taking turns: %s", thousands(float64(n))), key: perSegment, unit: "µs", lower: true},
				{title: "… of a round trip", key: perTrip, unit: "µs", lower: true},
				{title: "… segments of a round trip", key: perTripSegments},
			}
		}
		if n > 1 && len(t.rows) > 0 {
			t.rows[0].asks = []ask{{times: growth, test: "conns/1"}}
		}
		all = append(all, t)
	}
	for n := 1; n <= 1<<16; n *= 16 {
		t := test{id: fmt.Sprintf("timers/%d", n), work: "timers", options: options{Time: c.CostTime}, runs: 1, plot: plotPoint{plot: "timers", x: float64(n)},
			entries: []entry{{setup: "weir", adjust: conns(n)}, {setup: "weir/wheel", adjust: conns(n)}, {setup: "go/timers", adjust: conns(n)}}}
		if n <= c.Few {
			t.entries = append(t.entries, entry{setup: "kernel/lo", adjust: conns(n)})
		}
		if n == 1<<16 {
			t.rows = []row{{title: "processor time of a round trip beside 65 536 connections whose timers run", unit: "µs", lower: true,
				asks: []ask{{times: growth, test: "timers/1"}}}}
		}
		all = append(all, t)
	}
	return all
}
