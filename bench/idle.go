package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// idle counts what o.Conns established connections hold on the heap, per end (for the kernel: Go's share; the kernel's is beside it), and
// times a full garbage collection beside them, for 100,000.
func idle(s setup, o options) (sample, error) {
	o.Conns = affordable(s, o.Conns)
	w, err := s.open(o)
	if err != nil {
		return sample{}, err
	}
	held := make([]net.Conn, 0, 2*o.Conns)
	before, slab := settledHeap(), kernelMemory()
	if err := establish(w, o.Conns, func(client, server net.Conn) { held = append(held, client, server) }); err != nil {
		return sample{}, err
	}
	after, inKernel, ends := settledHeap(), kernelMemory(), float64(len(held))
	r := sample{Value: float64(after.HeapAlloc-before.HeapAlloc) / ends, More: map[string]float64{
		objectsPerEnd: float64(after.HeapObjects-before.HeapObjects) / ends,
	}}
	full, worst := timeGC(5)
	r.More[gcPer100k], r.More[longestStop] = full.Seconds()*1e3*1e5/float64(o.Conns), worst.Seconds()*1e3
	r.Note = fmt.Sprintf("%d connections, %.1f objects; GC %.0f ms per 100,000", o.Conns, r.More[objectsPerEnd], r.More[gcPer100k])
	if s.namespace {
		r.More[kernelPerEnd] = float64(inKernel-slab) / ends
		r.Note += fmt.Sprintf(", and %.0f bytes in the kernel", r.More[kernelPerEnd])
	}
	runtime.KeepAlive(held)
	return r, nil
}

// timeGC returns the median time of full collections, and the longest stop of the world in them.
func timeGC(times int) (full, worst time.Duration) {
	runtime.GC()
	var m runtime.MemStats
	var took []time.Duration
	for range times {
		start := time.Now()
		runtime.GC()
		took = append(took, time.Since(start))
		runtime.ReadMemStats(&m)
		worst = max(worst, time.Duration(m.PauseNs[(m.NumGC+255)%256]))
	}
	slices.Sort(took)
	return took[len(took)/2], worst
}

// perPort is how many connections one port of the server's takes: a client has only so many ephemeral ports for it.
const perPort = 20_000

// establish makes n connections and hands over both ends of each.
func establish(w world, n int, take func(client, server net.Conn)) error {
	var l net.Listener
	for i := range n {
		port := uint16(tcpPort + i/perPort)
		if i%perPort == 0 {
			var err error
			if l, err = w.listen(port); err != nil {
				return err
			}
		}
		client, server, err := pair(w, l, port)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		take(client, server)
	}
	return nil
}

// hold makes n connections and returns their ends, in pairs.
func hold(w world, n int) ([]net.Conn, error) {
	held := make([]net.Conn, 0, 2*n)
	err := establish(w, n, func(client, server net.Conn) { held = append(held, client, server) })
	return held, err
}

// affordable is how many connections of the kernel's the limit of open files allows; others have none.
func affordable(s setup, conns int) int {
	var r syscall.Rlimit
	if !s.namespace || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return conns
	}
	return min(conns, int(r.Cur-100)/2)
}

// afford makes do with up to a tenth fewer connections, and skips the measurement if that is not enough.
func afford(s setup, o *options) error {
	n := affordable(s, o.Conns)
	if n < o.Conns*9/10 {
		return fmt.Errorf("%w: %d connections need more open files than this user may have", errSkip, o.Conns)
	}
	o.Conns = n
	return nil
}

// raiseFiles raises the limit of open files as far as this user may.
func raiseFiles() {
	const want = 2_200_000
	var r syscall.Rlimit
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: want, Max: want}) == nil || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return
	}
	r.Cur = r.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r)
}

// settledHeap is the heap after two collections: the first one's finalizers and emptied pools free more.
func settledHeap() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// kernelMemory is what the whole kernel holds in its slabs, in bytes.
func kernelMemory() int64 { return 1024 * procField("/proc/meminfo", "Slab:") }

// procField is the number behind a name in one of the kernel's text files, 0 if it is not there.
func procField(file, name string) (n int64) {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			fmt.Sscan(rest, &n)
			return n
		}
	}
	return 0
}
