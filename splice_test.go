package weir_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/link/pipe"
)

// hostPair returns both ends of a connection of the kernel's.
func hostPair(t *testing.T) (x, y net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if x, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if y, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return x, y
}

// noise is n random bytes, the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	return b
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// TestSplice relays both ways between every pair of kinds.
func TestSplice(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	kinds := map[string]func(*testing.T) (net.Conn, net.Conn){
		"weir": func(t *testing.T) (net.Conn, net.Conn) { return tcpPair(t, weir.Config{}, pipe.Options{}) },
		"host": func(t *testing.T) (net.Conn, net.Conn) { return hostPair(t) },
		"other": func(t *testing.T) (net.Conn, net.Conn) { // no fast path
			x, y := hostPair(t)
			return x, struct{ halfCloser }{y.(halfCloser)}
		},
	}
	for left, makeLeft := range kinds {
		for right, makeRight := range kinds {
			t.Run(left+" and "+right, func(t *testing.T) {
				x, a := makeLeft(t)
				y, b := makeRight(t)
				defer x.Close()
				defer y.Close()
				there, back := noise(1, 3_000_000), noise(2, 1_000_000)
				var wg sync.WaitGroup
				wg.Go(func() { x.Write(there); x.(halfCloser).CloseWrite() })
				wg.Go(func() {
					got, err := io.ReadAll(y)
					if !bytes.Equal(got, there) || err != nil {
						t.Errorf("there: %d bytes, %v", len(got), err)
					}
					y.Write(back) // the other direction goes on after the half-close
					y.Close()
				})
				wg.Go(func() {
					got, err := io.ReadAll(x)
					if !bytes.Equal(got, back) || err != nil {
						t.Errorf("back: %d bytes, %v", len(got), err)
					}
				})
				n, m, err := weir.Splice(context.Background(), a, b)
				wg.Wait()
				if n != int64(len(there)) || m != int64(len(back)) || err != nil {
					t.Errorf("relayed %d and %d, %v", n, m, err)
				}
				if a.Close() == nil || b.Close() == nil {
					t.Error("the connections were not closed")
				}
			})
		}
	}
}

func TestSplicePassesResetsOn(t *testing.T) {
	x, a := tcpPair(t, weir.Config{}, pipe.Options{})
	y, b := tcpPair(t, weir.Config{}, pipe.Options{})
	end := make(chan error)
	go func() { _, _, err := weir.Splice(context.Background(), a, b); end <- err }()
	x.SetLinger(0)
	x.Close()
	if err := <-end; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("splice: %v", err)
	}
	if _, err := y.Read(buf100); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other side reads %v", err)
	}
}

func TestSpliceEndsWithItsContext(t *testing.T) {
	x, a := tcpPair(t, weir.Config{}, pipe.Options{})
	y, b := tcpPair(t, weir.Config{}, pipe.Options{})
	ctx, cancel := context.WithCancelCause(context.Background())
	end := make(chan error)
	go func() { _, _, err := weir.Splice(ctx, a, b); end <- err }()
	why := errors.New("enough")
	cancel(why)
	if err := <-end; err != why {
		t.Errorf("splice: %v", err)
	}
	for _, c := range []*weir.TCPConn{x, y} {
		if _, err := c.Read(buf100); err != io.EOF {
			t.Errorf("the far ends read %v", err)
		}
	}
	if _, _, err := weir.Splice(ctx, x, y); err != why {
		t.Errorf("splice when it was over before: %v", err)
	}
}

// TestSpliceWithoutHalfClose has an end that cannot be told that there is no more: it is closed.
func TestSpliceWithoutHalfClose(t *testing.T) {
	x, a := tcpPair(t, weir.Config{}, pipe.Options{})
	y, b := net.Pipe()
	go func() {
		x.Write([]byte("hello"))
		x.CloseWrite()
	}()
	go weir.Splice(context.Background(), a, b)
	if got, err := io.ReadAll(y); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := io.ReadAll(x); len(got) != 0 || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestCopies moves bytes by every way there is, and compares.
func TestCopies(t *testing.T) {
	data := noise(3, 5_000_000)
	send := map[string]func(c *weir.TCPConn) (int64, error){
		"Write": func(c *weir.TCPConn) (int64, error) { n, err := c.Write(data); return int64(n), err },
		"ReadFrom": func(c *weir.TCPConn) (int64, error) {
			return c.ReadFrom(iotest.HalfReader(bytes.NewReader(data)))
		},
		"small ReadFrom": func(c *weir.TCPConn) (int64, error) {
			n, err := c.ReadFrom(iotest.OneByteReader(bytes.NewReader(data[:1000])))
			m, err2 := c.ReadFrom(bytes.NewReader(data[1000:]))
			return n + m, errors.Join(err, err2)
		},
		"WriteBuffers": func(c *weir.TCPConn) (int64, error) {
			v := net.Buffers{nil, data[:1], data[1:1000], nil, data[1000:700_000], data[700_000:]}
			return c.WriteBuffers(v)
		},
		"WriteOwned": func(c *weir.TCPConn) (int64, error) {
			var b buffer.Buffer
			for p := data; len(p) > 0; p = p[min(len(p), 77_777):] {
				b.Append(p[:min(len(p), 77_777)])
			}
			return c.WriteOwned(&b)
		},
	}
	receive := map[string]func(c *weir.TCPConn) ([]byte, error){
		"Read": func(c *weir.TCPConn) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{c}) },
		"WriteTo": func(c *weir.TCPConn) ([]byte, error) {
			var b bytes.Buffer
			_, err := c.WriteTo(&b)
			return b.Bytes(), err
		},
	}
	for s, send := range send {
		for r, receive := range receive {
			t.Run(s+" to "+r, func(t *testing.T) {
				x, y := tcpPair(t, weir.Config{SendBuffer: 128 << 10, ReceiveBuffer: 128 << 10}, pipe.Options{NoOffload: true})
				go func() {
					if n, err := send(x); n != int64(len(data)) || err != nil {
						t.Errorf("sent %d, %v", n, err)
					}
					x.CloseWrite()
				}()
				if got, err := receive(y); !bytes.Equal(got, data) || err != nil {
					t.Errorf("received %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

func TestCopiesPassErrorsOn(t *testing.T) {
	x, y := tcpPair(t, weir.Config{}, pipe.Options{})
	broken := errors.New("broken")
	n, err := x.ReadFrom(io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(broken)))
	if n != 5 || !errors.Is(err, broken) {
		t.Errorf("ReadFrom: %d, %v", n, err)
	}
	if n, err := y.WriteTo(failingWriter{broken}); n != 2 || !errors.Is(err, broken) {
		t.Errorf("WriteTo: %d, %v", n, err)
	}
	x.CloseWrite()
	var b buffer.Buffer
	b.AppendOwned([]byte("hello"))
	if n, err := x.WriteOwned(&b); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("WriteOwned: %d, %v", n, err)
	}
	if n, err := x.WriteBuffers(net.Buffers{[]byte("hello")}); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("WriteBuffers: %d, %v", n, err)
	}
}

// failingWriter takes two bytes, and fails.
type failingWriter struct{ err error }

func (w failingWriter) Write(p []byte) (int, error) { return min(len(p), 2), w.err }

// TestConcurrentWritesStayWhole has many goroutines write records larger than the send buffer; none may be torn.
func TestConcurrentWritesStayWhole(t *testing.T) {
	x, y := tcpPair(t, weir.Config{SendBuffer: 64 << 10}, pipe.Options{})
	const writers, records, size = 8, 20, 100_000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range records {
				if w%2 == 0 {
					x.Write(bytes.Repeat([]byte{byte(w)}, size))
				} else {
					x.WriteBuffers(net.Buffers{bytes.Repeat([]byte{byte(w)}, size/2), bytes.Repeat([]byte{byte(w)}, size/2)})
				}
			}
		})
	}
	go func() { wg.Wait(); x.CloseWrite() }()
	b := make([]byte, size)
	n := 0
	for ; ; n++ {
		if _, err := io.ReadFull(y, b); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, bytes.Repeat(b[:1], size)) {
			t.Fatal("a record is torn")
		}
	}
	if n != writers*records {
		t.Errorf("%d records", n)
	}
}

// TestUDPWriteWaits has a device that is full: Write waits for room, to its deadline.
func TestUDPWriteWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, weir.Config{})
		dev := &stuckDevice{}
		join(t, s, weir.InterfaceConfig{Device: dev, Addrs: prefixes(addrA4)})
		c, err := s.DialUDP(context.Background(), netip.AddrPort{}, netip.AddrPortFrom(addrB4, 9))
		if err != nil {
			t.Fatal(err)
		}
		c.SetWriteDeadline(time.Now().Add(time.Minute))
		sent := 0
		err = took(t, "write", time.Minute, time.Minute, func() error {
			for {
				if _, err := c.Write(make([]byte, 1000)); err != nil {
					return err
				}
				sent++
			}
		})
		if !isTimeout(err) || sent == 0 {
			t.Errorf("%d datagrams, then %v", sent, err)
		}
		c.SetWriteDeadline(time.Time{})
		time.AfterFunc(time.Second, dev.release)
		if err := took(t, "write", time.Second, time.Second, func() error { return second(c.Write(make([]byte, 1000))) }); err != nil {
			t.Error(err)
		}
	})
}
