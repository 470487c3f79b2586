package main

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// request is how many bytes go there, and how many back.
const request = 100

// crrPorts is how many ports of the server the clients go to in turn: to one of them there are only so many connections a second before
// the client has no port left that is not in TIME-WAIT.
const crrPorts = 4

// connections connects, sends a request, reads the echo and closes, with o.Clients at once. What it allocates itself is allocated before.
func connections(s setup, o options) (sample, error) {
	w, err := s.open(o)
	if err != nil {
		return sample{}, err
	}
	clients := max(1, o.Clients)
	for port := range uint16(crrPorts) {
		l, err := w.listen(tcpPort + port)
		if err != nil {
			return sample{}, err
		}
		for range clients + 2 {
			go serve(l)
		}
	}
	load := &connLoad{w: w}
	for range clients {
		go load.client()
	}
	time.Sleep(warmUp(o))
	from := load.done.Load()
	m, err := startMeter(o)
	if err != nil {
		return sample{}, err
	}
	time.Sleep(o.Time)
	n := load.done.Load() - from
	u := m.stop()
	load.ended.Store(true)
	r := sample{Value: u.perSecond(n), More: map[string]float64{
		allocsPerOp: float64(u.objects) / float64(n), bytesPerOp: float64(u.bytes) / float64(n),
	}}
	r.Note = fmt.Sprintf("%.0f allocations, %.0f bytes", r.More[allocsPerOp], r.More[bytesPerOp])
	if f := load.failed.Load(); f > 0 {
		r.Note += fmt.Sprintf(", %d failed", f)
	}
	return r, nil
}

// connLoad is the clients' common state.
type connLoad struct {
	w            world
	done, failed atomic.Int64
	ended        atomic.Bool
}

func (c *connLoad) client() {
	buf := make([]byte, request)
	for n := uint16(0); !c.ended.Load(); n++ {
		if oneRequest(c.w, tcpPort+n%crrPorts, buf) != nil {
			c.failed.Add(1)
			continue
		}
		c.done.Add(1)
	}
}

func oneRequest(w world, port uint16, buf []byte) error {
	c, err := w.dial(port)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(buf); err != nil {
		return err
	}
	_, err = io.ReadFull(c, buf)
	return err
}

// serve takes one connection after the other: a goroutine for each would count as an allocation.
func serve(l net.Listener) {
	buf := make([]byte, request)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		for echoOnce(c, buf) == nil {
		}
		c.Close()
	}
}
