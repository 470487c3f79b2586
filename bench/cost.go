package main

import (
	"fmt"
	"net"
	"time"

	"github.com/weirnet/weir/sched"
)

// windows is how often the cost works measure what they have set up, which takes longer than measuring.
const windows = 5

// costByConns is the processor time of a segment, and of a round trip of one byte, over connections that take turns, o.Conns of them. One
// goroutine does both ends, so that what differs is how long it takes to find a connection and what belongs to it.
//
// The segment is the measure of a growing cost: when its turn comes after more than the time of a delayed acknowledgment, a round trip is
// three segments and not two, and a timer that expires.
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
	return turns(w, o, func(i int) (client, server net.Conn) { return held[2*i], held[2*i+1] })
}

// segmentCounter is a world that counts the segments of TCP that its hosts have sent.
type segmentCounter interface{ segments() int64 }

// turns has connections take turns at a round trip.
func turns(w world, o options, at func(i int) (client, server net.Conn)) ([]sample, error) {
	i, b := 0, make([]byte, 1)
	return costWindows(o, w.(segmentCounter).segments, func() error {
		i = (i + stride) % o.Conns
		client, server := at(i)
		return trip(client, server, b)
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
	b := make([]byte, 1)
	return costWindows(o, nil, func() error { return trip(held[0], held[1], b) })
}

// stride leads from one connection to the next: a prime, so that all have their turn, and large, so that neighbours in memory do not
// follow one another.
const stride = 104_729

// trip is a byte there and back, in one goroutine; b has room for it.
func trip(client, server net.Conn, b []byte) error {
	if err := passOn(client, server, b); err != nil {
		return err
	}
	return passOn(server, client, b)
}

func passOn(from, to net.Conn, b []byte) error {
	if _, err := from.Write(b); err != nil {
		return err
	}
	_, err := to.Read(b)
	return err
}

// costWindows gives the processor time of an operation in microseconds, several times; if segments are counted, that of a segment, and
// the operation's beside it.
func costWindows(o options, segments func() int64, op func() error) (all []sample, err error) {
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
		var before int64
		if segments != nil {
			before = segments()
		}
		n, err := window(o.Time)
		if err != nil {
			return nil, err
		}
		us := m.stop().cpu.Seconds() * 1e6
		if segments == nil {
			all = append(all, sample{Value: us / float64(n)})
			continue
		}
		sent := float64(segments() - before)
		s := sample{Value: us / sent, More: map[string]float64{perSegment: us / sent, perTrip: us / float64(n), perTripSegments: sent / float64(n)}}
		s.Note = fmt.Sprintf("%.2f µs and %.2f segments a round trip", s.More[perTrip], s.More[perTripSegments])
		all = append(all, s)
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
	return costWindows(o, nil, arm)
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
	return costWindows(o, nil, func() error {
		i = (i + stride) % o.Conns
		timers[i].Reset(15 * time.Second)
		return nil
	})
}
