package main

import (
	"errors"
	"net"
	"sync/atomic"

	"golang.org/x/net/ipv4"

	"github.com/weirnet/weir"
)

// batch is how many datagrams one call is given.
const batch = 64

// datagramBatches sends datagrams many a call, and counts those that were read: by weir's ReadBatch and WriteBatch, and by recvmmsg and
// sendmmsg. gVisor has no such calls, and goes call by call.
func datagramBatches(s setup, o options) (sample, error) {
	w, err := s.open(o)
	if err != nil {
		return sample{}, err
	}
	client, server, err := w.packets()
	if err != nil {
		return sample{}, err
	}
	switch c := client.(type) {
	case *weir.UDPConn:
		return weirBatches(w, o, c, server.(*weir.UDPConn))
	case *net.UDPConn:
		return kernelBatches(w, o, c, server.(*net.UDPConn))
	}
	return callByCall(w, o, client, server)
}

func weirBatches(w world, o options, client, server *weir.UDPConn) (sample, error) {
	room := 2048
	if o.GRO {
		room = 65536
		if err := server.SetGRO(true); err != nil {
			return sample{}, err
		}
	}
	in, out := weirDatagrams(room), weirDatagrams(datagram)
	flood := func(calls int) (sent int64) {
		for range calls / batch {
			n, _ := client.WriteBatch(out)
			sent += int64(n)
		}
		return sent
	}
	return floodSample(w, o, flood, func(received *atomic.Int64) {
		for {
			n, err := server.ReadBatch(in)
			if err != nil {
				return
			}
			received.Add(countDatagrams(in[:n]))
		}
	})
}

func weirDatagrams(size int) []weir.Datagram {
	ds := make([]weir.Datagram, batch)
	for i := range ds {
		ds[i].Data = make([]byte, size)
	}
	return ds
}

// countDatagrams counts each of several that came as one.
func countDatagrams(ds []weir.Datagram) (n int64) {
	for i := range ds {
		if seg := ds[i].Segment; seg > 0 {
			n += int64((ds[i].N + seg - 1) / seg)
		} else {
			n++
		}
	}
	return n
}

func kernelBatches(w world, o options, client, server *net.UDPConn) (sample, error) {
	to, from := ipv4.NewPacketConn(client), ipv4.NewPacketConn(server)
	in, out := messages(2048), messages(datagram)
	flood := func(calls int) (sent int64) {
		for range calls / batch {
			n, _ := to.WriteBatch(out, 0)
			sent += int64(max(0, n))
		}
		return sent
	}
	return floodSample(w, o, flood, func(received *atomic.Int64) {
		for {
			n, err := from.ReadBatch(in, 0)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			received.Add(int64(max(0, n)))
		}
	})
}

func messages(size int) []ipv4.Message {
	ms := make([]ipv4.Message, batch)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, size)}
	}
	return ms
}
