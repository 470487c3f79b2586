package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// bulk sends as fast as it goes for o.time over o.streams connections, and counts what was read.
func bulk(w world, o options) (result, error) {
	l, err := w.listen()
	if err != nil {
		return result{}, err
	}
	defer l.Close()
	var received atomic.Int64
	var wg sync.WaitGroup
	for range o.streams {
		client, server, err := pair(w, l)
		if err != nil {
			return result{}, err
		}
		wg.Go(func() { pour(client, o.time) })
		wg.Go(func() {
			buf := make([]byte, 256<<10)
			for {
				n, err := server.Read(buf)
				received.Add(int64(n))
				if err != nil {
					server.Close()
					return
				}
			}
		})
	}
	start := time.Now()
	wg.Wait()
	return result{value: float64(received.Load()) / time.Since(start).Seconds() / 1e9}, nil
}

// pour writes for a time, then closes.
func pour(c net.Conn, d time.Duration) {
	defer c.Close()
	buf := make([]byte, 256<<10)
	for end := time.Now().Add(d); time.Now().Before(end); {
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

// pair makes one connection.
func pair(w world, l net.Listener) (client, server net.Conn, err error) {
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	if client, err = w.dial(); err != nil {
		return nil, nil, err
	}
	if server = <-accepted; server == nil {
		client.Close()
		return nil, nil, errors.New("accept failed")
	}
	return client, server, nil
}

// roundTrips sends one byte there and back again.
func roundTrips(w world, o options) (result, error) {
	l, err := w.listen()
	if err != nil {
		return result{}, err
	}
	defer l.Close()
	client, server, err := pair(w, l)
	if err != nil {
		return result{}, err
	}
	defer client.Close()
	go echo(server)
	var b [1]byte
	n := 0
	start := time.Now()
	for time.Since(start) < o.time {
		for range 100 {
			if _, err := client.Write(b[:]); err != nil {
				return result{}, err
			}
			if _, err := io.ReadFull(client, b[:]); err != nil {
				return result{}, err
			}
			n++
		}
	}
	return result{value: float64(n) / time.Since(start).Seconds()}, nil
}

// echo sends back what comes, and closes after EOF.
func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// connections connects, sends a request of 100 bytes, reads the echo and closes, with o.clients at once.
func connections(w world, o options) (result, error) {
	l, err := w.listen()
	if err != nil {
		return result{}, err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go echo(c)
		}
	}()
	var n, failed atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range o.clients {
		wg.Go(func() {
			buf := make([]byte, 100)
			for time.Since(start) < o.time {
				if oneRequest(w, buf) != nil {
					failed.Add(1)
					continue
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	r := result{value: float64(n.Load()) / time.Since(start).Seconds()}
	if f := failed.Load(); f > 0 {
		r.note = fmt.Sprintf("%d failed", f)
	}
	return r, nil
}

func oneRequest(w world, buf []byte) error {
	c, err := w.dial()
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

// datagrams sends 64-byte datagrams call by call and counts those that were read.
func datagrams(w world, o options) (result, error) {
	client, server, err := w.packets()
	if err != nil {
		return result{}, err
	}
	defer client.Close()
	var received atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2048)
		for {
			if _, err := server.Read(buf); err != nil {
				return
			}
			received.Add(1)
		}
	}()
	buf := make([]byte, 64)
	sent := 0
	start := time.Now()
	for time.Since(start) < o.time {
		for range 100 {
			if _, err := client.Write(buf); err == nil {
				sent++
			}
		}
	}
	elapsed := time.Since(start).Seconds()
	n := received.Load()
	server.Close()
	<-ended
	return result{float64(n) / elapsed, fmt.Sprintf("%.0f%% lost", 100*(1-float64(n)/float64(max(1, sent))))}, nil
}

// idle counts what o.conns established connections hold on the heap, per end (for the kernel: Go's share only).
func idle(w world, o options) (result, error) {
	l, err := w.listen()
	if err != nil {
		return result{}, err
	}
	defer l.Close()
	var before, after runtime.MemStats
	held := make([]net.Conn, 0, 2*o.conns)
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range o.conns {
		client, server, err := pair(w, l)
		if err != nil {
			return result{}, err
		}
		held = append(held, client, server)
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	objects := float64(after.HeapObjects-before.HeapObjects) / float64(len(held))
	r := result{float64(after.HeapAlloc-before.HeapAlloc) / float64(len(held)), fmt.Sprintf("%.1f objects", objects)}
	for _, c := range held {
		c.Close()
	}
	return r, nil
}
