// Package demo is `weir demo`: two hosts in one process, joined by an emulated link; one serves a file over HTTP, the other fetches it.
package demo

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/capture"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/pipe"
)

// Options of a run. Zero values mean none, but for MTU (1500) and Congestion (the stack's default).
type Options struct {
	Rate       int64         // of the link, in bit/s; 0: no limit
	Delay      time.Duration // round-trip time; half of it each way
	Loss       float64       // share of packets lost, each way
	MTU        int
	Seed       uint64 // of the file's bytes and of the losses
	Size       int64  // of the file, in bytes
	Congestion string
	ECN        weir.ECNMode // asked for by both hosts; the link then marks packets while a quarter of its queue is full
	Pcap       string       // file to write what crossed the link to
	Out        io.Writer
	Terminal   bool // Out shows a line that is written over
}

// Result is what a run measured.
type Result struct {
	Elapsed      time.Duration
	Sent, Got    [sha256.Size]byte
	Received     int64
	Server       weir.TCPInfo
	Interfaces   [2]weir.InterfaceInfo // as of the server and the client
	LinkFraction float64               // goodput by the link's rate; 0 without a rate
}

// Equal reports whether what arrived is what was sent.
func (r *Result) Equal() bool { return r.Sent == r.Got }

const port = 80

var (
	serverAddr = netip.MustParsePrefix("192.0.2.1/24")
	clientAddr = netip.MustParsePrefix("192.0.2.2/24")
)

// world is the two hosts and the link between them.
type world struct {
	server, client     *weir.Stack
	serverIf, clientIf *weir.Interface
	pcap               *os.File
	record             *capture.Writer // to pcap
}

// Run does one run. The error is about the run itself; Result.Equal says whether the bytes were.
func Run(ctx context.Context, o Options) (*Result, error) {
	w, err := build(o)
	if err != nil {
		return nil, err
	}
	defer w.close()

	f := &file{size: o.Size, seed: o.Seed, sent: make(chan [sha256.Size]byte, 1)}
	srv, conns, err := serve(w.server, f)
	if err != nil {
		return nil, err
	}
	defer srv.Close()

	r := &Result{}
	var received atomic.Int64
	stop := showProgress(o, &received)
	start := time.Now()
	err = fetch(ctx, w.client, r, &received)
	r.Elapsed = time.Since(start)
	stop()
	r.Received = received.Load()
	if err != nil {
		return nil, err
	}
	select { // the last byte may have arrived before its writer has noticed
	case r.Sent = <-f.sent:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c := conns.last.Load(); c != nil {
		r.Server = c.Info()
	}
	r.Interfaces = [2]weir.InterfaceInfo{w.serverIf.Info(), w.clientIf.Info()}
	if w.record != nil && w.record.Err() != nil {
		return nil, fmt.Errorf("write the capture file: %w", w.record.Err())
	}
	if o.Rate > 0 {
		r.LinkFraction = float64(r.Received) * 8 / r.Elapsed.Seconds() / float64(o.Rate)
	}
	return r, nil
}

// build makes the hosts and the link.
func build(o Options) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	a, b := pipe.New(pipe.Options{MTU: o.MTU, NoOffload: true})
	impair := emul.Config{Delay: o.Delay / 2, Loss: o.Loss, Rate: o.Rate, Seed: o.Seed, Queue: o.queue()}
	if o.ECN != weir.ECNDefault {
		impair.Mark = o.queue() / 4
	}
	var serverDev link.Device = emul.Wrap(a, impair)
	impair.Seed++
	var clientDev link.Device = emul.Wrap(b, impair)
	if o.Pcap != "" {
		if w.pcap, err = os.Create(o.Pcap); err != nil {
			return w, fmt.Errorf("open the capture file: %w", err)
		}
		w.record = capture.NewWriter(w.pcap)
		serverDev = w.record.Wrap(serverDev, capture.Options{Name: "link"})
	}
	if w.server, w.serverIf, err = host(o, serverDev, serverAddr); err != nil {
		return w, err
	}
	w.client, w.clientIf, err = host(o, clientDev, clientAddr)
	return w, err
}

// queue is the size, in bytes, of the queue before the link: twice what the link holds in a round trip, so that it stays busy while a
// sender recovers from a loss, and while this process is kept waiting for a processor.
func (o *Options) queue() int {
	if o.Rate == 0 {
		return 0 // nothing queues: emul's default bounds what is under way
	}
	return max(int(2*float64(o.Rate)/8*o.Delay.Seconds()), 100*o.MTU)
}

func host(o Options, dev link.Device, addr netip.Prefix) (*weir.Stack, *weir.Interface, error) {
	s, err := weir.New(weir.Config{Congestion: o.Congestion, ECN: o.ECN})
	if err != nil {
		return nil, nil, err
	}
	i, err := s.AddInterface(weir.InterfaceConfig{Name: "link", Device: dev, Addrs: []netip.Prefix{addr}})
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return s, i, nil
}

func (w *world) close() {
	for _, s := range []*weir.Stack{w.client, w.server} {
		if s != nil {
			s.Close()
		}
	}
	if w.pcap != nil {
		w.pcap.Close()
	}
}

// connTracker is a listener that remembers the latest connection, whose Info the closing table shows.
type connTracker struct {
	net.Listener
	last atomic.Pointer[weir.TCPConn]
}

func (t *connTracker) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if tc, ok := c.(*weir.TCPConn); ok {
		t.last.Store(tc)
	}
	return c, err
}

// serve starts the HTTP server.
func serve(s *weir.Stack, f *file) (*http.Server, *connTracker, error) {
	l, err := s.Listen("tcp", netip.AddrPortFrom(serverAddr.Addr(), port).String())
	if err != nil {
		return nil, nil, err
	}
	conns := &connTracker{Listener: l}
	srv := &http.Server{Handler: f}
	go srv.Serve(conns)
	return srv, conns, nil
}

// fetch gets the file and sums what arrives.
func fetch(ctx context.Context, s *weir.Stack, r *Result, received *atomic.Int64) error {
	transport := &http.Transport{DialContext: s.DialContext}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+netip.AddrPortFrom(serverAddr.Addr(), port).String()+"/file", nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("fetch the file: %w", err)
	}
	defer resp.Body.Close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, (*counter)(received)), resp.Body); err != nil {
		return fmt.Errorf("fetch the file: %w", err)
	}
	r.Got = [sha256.Size]byte(h.Sum(nil))
	return nil
}

// counter counts what is written to it.
type counter atomic.Int64

func (c *counter) Write(p []byte) (int, error) {
	(*atomic.Int64)(c).Add(int64(len(p)))
	return len(p), nil
}

// file is what is served: size bytes that follow from the seed.
type file struct {
	size int64
	seed uint64
	sent chan [sha256.Size]byte // what its SHA-256 was, when all was written
}

func (f *file) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", fmt.Sprint(f.size))
	var key [32]byte
	for i := range 8 {
		key[i] = byte(f.seed >> (8 * i))
	}
	h := sha256.New()
	_, _ = io.Copy(w, io.TeeReader(io.LimitReader(rand.NewChaCha8(key), f.size), h)) // an error shows at the client, by length and sum
	f.sent <- [sha256.Size]byte(h.Sum(nil))
}
