package weir_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/emul"
	"github.com/weirnet/weir/link/pipe"
)

// Config.SynAckRetries and AbortOnOverflow reach the stack.
func TestHandshakeConfig(t *testing.T) {
	pair := func(t *testing.T, c weir.Config, back emul.Config) (a, b *weir.Stack, l net.Listener) {
		a, b = newStack(t, weir.Config{}), newStack(t, c)
		da, db := pipe.New(pipe.Options{NoOffload: true})
		join(t, a, weir.InterfaceConfig{Device: emul.Wrap(da, emul.Config{Delay: 10 * time.Millisecond}), Addrs: prefixes(addrA4)})
		join(t, b, weir.InterfaceConfig{Device: emul.Wrap(db, back), Addrs: prefixes(addrB4)})
		l, err := b.Listen("tcp", "192.0.2.2:80")
		if err != nil {
			t.Fatal(err)
		}
		return a, b, l
	}
	for retries, want := range map[int]uint64{1: 2, 3: 4, 0: 6} {
		synctest.Test(t, func(t *testing.T) {
			a, b, _ := pair(t, weir.Config{SynAckRetries: retries}, emul.Config{Down: true})
			ctx, cancel := context.WithTimeout(context.Background(), time.Second/2)
			defer cancel()
			if _, err := a.DialContext(ctx, "tcp", "192.0.2.2:80"); err == nil {
				t.Error("no error")
			}
			time.Sleep(2 * time.Minute)
			if n := b.Stats().TCP.SegmentsOut; n != want {
				t.Errorf("%d SYN-ACKs with %d retries, want %d", n, retries, want)
			}
		})
	}
	for _, abort := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, _, l := pair(t, weir.Config{AbortOnOverflow: abort, Backlog: 1}, emul.Config{Delay: 10 * time.Millisecond})
			served := make(chan error, 2)
			for range 2 { // both SYNs arrive before either ACK
				go func() {
					c, err := a.Dial("tcp", "192.0.2.2:80")
					if err == nil {
						time.Sleep(time.Second)
						_, err = c.Write([]byte("x"))
					}
					if err == nil {
						time.Sleep(time.Second)
						_, err = c.Write([]byte("x"))
					}
					served <- err
				}()
			}
			time.Sleep(100 * time.Millisecond)
			if _, err := l.Accept(); err != nil {
				t.Error(err)
			}
			e1, e2 := <-served, <-served
			if failed := e1 != nil || e2 != nil; failed != abort || e1 != nil && e2 != nil {
				t.Errorf("AbortOnOverflow %v: %v and %v", abort, e1, e2)
			}
		})
	}
	for _, c := range []weir.Config{{SynAckRetries: -1}, {SynCookies: 3}} {
		if _, err := weir.New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
