package main

import (
	"io"
	"net"
	"time"

	"github.com/weirnet/weir/sched"
)

// windows is how often the cost works measure what they have set up, which takes longer than measuring.
const windows = 5

// costByConns is the processor time of a round trip of one byte over connections that take turns, o.Conns of them. One goroutine does
// both ends, so that what differs is how long it takes to find a connection and what belongs to it.
func costByConns(s setup, o options) ([]sample, error) {
	if err := afford(s, &o); err != nil {
		return nil, err
	}
	w, err := s.open(o)
	if err != nil {
		return nil, err
	}
	held, err := hold(w, o.Conns)
	if err != nil {
		return nil, err
	}
	i := 0
	return costWindows(o, func() error {
		i = (i + stride) % o.Conns
		return trip(held[2*i], held[2*i+1])
	})
}

// costByTimers is the processor time of a round trip of one byte over one connection, while o.Conns others are idle, each with the
// timer of its keep-alive probes running.
func costByTimers(s setup, o options) ([]sample, error) {
	if err := afford(s, &o); err != nil {
		return nil, err
	}
	w, err := s.open(o)
	if err != nil {
		return nil, err
	}
	held, err := hold(w, o.Conns)
	if err != nil {
		return nil, err
	}
	return costWindows(o, func() error { return trip(held[0], held[1]) })
}

// stride leads from one connection to the next: a prime, so that all have their turn, and large, so that neighbours in memory do not
// follow one another.
const stride = 104_729

// trip is a byte there and back, in one goroutine.
func trip(client, server net.Conn) error {
	var b [1]byte
	for _, way := range [2][2]net.Conn{{client, server}, {server, client}} {
		if _, err := way[0].Write(b[:]); err != nil {
			return err
		}
		if _, err := io.ReadFull(way[1], b[:]); err != nil {
			return err
		}
	}
	return nil
}

// costWindows gives the processor time of an operation in microseconds, several times.
func costWindows(o options, op func() error) (all []sample, err error) {
	window := func(d time.Duration) (n int, err error) {
		for start := time.Now(); time.Since(start) < d; {
			for range 64 {
				if err := op(); err != nil {
					return n, err
				}
				n++
			}
		}
		return n, nil
	}
	if _, err := window(warmUp(o)); err != nil {
		return nil, err
	}
	for range windows {
		m, err := startMeter(o)
		if err != nil {
			return nil, err
		}
		n, err := window(o.Time)
		if err != nil {
			return nil, err
		}
		all = append(all, sample{Value: m.stop().cpu.Seconds() * 1e6 / float64(n)})
	}
	return all, nil
}

// wheelTimers is what it costs weir's timer wheel to move a deadline.
func wheelTimers(_ setup, o options) ([]sample, error) {
	clock := sched.Real()
	timers := sched.NewTimers(clock)
	nodes := make([]sched.Node, o.Conns)
	i := 0
	arm := func() error {
		i = (i + stride) % o.Conns
		timers.Arm(&nodes[i], clock.Now().Add(15*time.Second))
		return nil
	}
	for i := range nodes {
		nodes[i].Owner = neverExpires{}
		_ = arm()
	}
	return costWindows(o, arm)
}

type neverExpires struct{}

// Expire implements sched.Expirer.
func (neverExpires) Expire(sched.Time) {}

// goTimers is what it costs the runtime to move a deadline: gVisor uses its timers.
func goTimers(_ setup, o options) ([]sample, error) {
	timers := make([]*time.Timer, o.Conns)
	for i := range timers {
		timers[i] = time.AfterFunc(15*time.Second, func() {})
	}
	i := 0
	return costWindows(o, func() error {
		i = (i + stride) % o.Conns
		timers[i].Reset(15 * time.Second)
		return nil
	})
}
