package main

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// datagram is how many bytes of payload each has.
const datagram = 64

// datagrams sends datagrams call by call and counts those that were read.
func datagrams(s setup, o options) (sample, error) {
	w, err := s.open(o)
	if err != nil {
		return sample{}, err
	}
	client, server, err := w.packets()
	if err != nil {
		return sample{}, err
	}
	return callByCall(w, o, client, server)
}

func callByCall(w world, o options, client, server net.Conn) (sample, error) {
	buf := make([]byte, datagram)
	flood := func(calls int) (sent int64) {
		for range calls {
			if _, err := client.Write(buf); err == nil {
				sent++
			}
		}
		return sent
	}
	return floodSample(w, o, flood, func(received *atomic.Int64) { takeDatagrams(server, received) })
}

func takeDatagrams(c net.Conn, received *atomic.Int64) {
	buf := make([]byte, 2048)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
		received.Add(1)
	}
}

// floodSample has flood send for o.Time, and says what became of it.
func floodSample(w world, o options, flood func(calls int) int64, take func(*atomic.Int64)) (sample, error) {
	var received atomic.Int64
	go take(&received)
	var sent int64
	for end := time.Now().Add(warmUp(o)); time.Now().Before(end); {
		sent += flood(64)
	}
	from := received.Load()
	m, err := startMeter(o)
	if err != nil {
		return sample{}, err
	}
	for time.Since(m.start) < o.Time {
		sent += flood(64)
	}
	n := received.Load() - from
	u := m.stop()
	lost := sent - settle(&received)
	r := sample{Value: u.perSecond(n), More: map[string]float64{
		lossShare:   100 * float64(lost) / float64(max(1, sent)),
		allocsPerOp: float64(u.objects) / float64(max(1, n)),
	}}
	r.Note = fmt.Sprintf("%.0f%% lost", r.More[lossShare])
	if d, ok := w.(dropCounter); ok {
		r.More[uncounted] = float64(lost) - float64(d.drops())
		r.Note += fmt.Sprintf(", %.0f of them uncounted", r.More[uncounted])
	}
	return r, nil
}

// settle waits until nothing more is received, and returns how much was.
func settle(received *atomic.Int64) int64 {
	for last := int64(-1); ; time.Sleep(50 * time.Millisecond) {
		if n := received.Load(); n == last {
			return n
		} else {
			last = n
		}
	}
}
