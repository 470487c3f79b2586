package main

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// piece is how much one Write or Read is given.
const piece = 256 << 10

// headers of a TCP segment over IPv4 with timestamps.
const headers = 52

// bulk sends as fast as it goes over o.Streams connections, and counts what was read.
func bulk(s setup, o options) (sample, error) {
	w, err := s.open(o)
	if err != nil {
		return sample{}, err
	}
	return pourAll(w, o)
}

func pourAll(w world, o options) (sample, error) { return pourAfter(w, o, warmUp(o)) }

// pourAfter measures what comes when the streams have run for a time.
func pourAfter(w world, o options, start time.Duration) (sample, error) {
	l, err := w.listen(tcpPort)
	if err != nil {
		return sample{}, err
	}
	var received atomic.Int64
	for range max(1, o.Streams) {
		client, server, err := pair(w, l, tcpPort)
		if err != nil {
			return sample{}, err
		}
		if o.Reverse {
			client, server = server, client
		}
		go pour(client)
		go drain(server, &received)
	}
	time.Sleep(start)
	from := received.Load()
	m, err := startMeter(o)
	if err != nil {
		return sample{}, err
	}
	time.Sleep(o.Time)
	n := received.Load() - from
	u := m.stop()
	if n == 0 {
		return sample{}, errStalled
	}
	return bulkSample(n, u, o), nil
}

var errStalled = errors.New("nothing was received while it was measured")

func bulkSample(n int64, u usage, o options) sample {
	segment := 65535 - headers
	if o.MTU != 0 {
		segment = o.MTU - headers
	}
	gb := float64(n) / 1e9
	return sample{Value: gb / u.elapsed.Seconds(), More: map[string]float64{
		cpuPerGB:    u.cpu.Seconds() / gb,
		allocsPerOp: float64(u.objects) / (float64(n) / float64(segment)),
	}}
}

// warmUp is how long a load runs before it is measured: buffers have grown, and the heap has its size.
func warmUp(o options) time.Duration { return o.Time/4 + 50*time.Millisecond }

func pour(c net.Conn) {
	buf := make([]byte, piece)
	for {
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

func drain(c net.Conn, received *atomic.Int64) {
	buf := make([]byte, piece)
	for {
		n, err := c.Read(buf)
		received.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// pair makes one connection.
func pair(w world, l net.Listener, port uint16) (client, server net.Conn, err error) {
	if client, err = w.dial(port); err != nil {
		return nil, nil, err
	}
	server, err = l.Accept()
	return client, server, err
}
