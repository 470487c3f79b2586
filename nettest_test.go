package weir_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/link/pipe"
)

// makePipe gives nettest both ends of a connection from a to b.
func makePipe(t *testing.T, a, b *weir.Stack, to netip.Addr) nettest.MakePipe {
	return func() (c1, c2 net.Conn, stop func(), err error) {
		l, err := b.ListenTCP(netip.AddrPortFrom(to, 0))
		if err != nil {
			return nil, nil, nil, err
		}
		defer l.Close()
		c1, err = a.DialTCP(context.Background(), netip.AddrPort{}, netip.MustParseAddrPort(l.Addr().String()))
		if err != nil {
			return nil, nil, nil, err
		}
		c2, err = l.Accept()
		return c1, c2, func() { c1.Close(); c2.Close() }, err
	}
}

func TestNettest(t *testing.T) {
	t.Run("loopback", func(t *testing.T) {
		s := newStack(t, weir.Config{})
		nettest.TestConn(t, makePipe(t, s, s, netip.MustParseAddr("127.0.0.1")))
	})
	for _, o := range []pipe.Options{{}, {NoOffload: true}, {MTU: 1280, NoOffload: true}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			a, b := newPair(t, weir.Config{}, o)
			nettest.TestConn(t, makePipe(t, a, b, addrB6))
		})
	}
}

func TestHTTP(t *testing.T) {
	const requests = 1000
	a, b := newPair(t, weir.Config{}, pipe.Options{})
	l, err := b.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("weir ", 10000)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.URL.Path, got, body)
	})}
	defer server.Close()
	go server.Serve(l)
	transport := &http.Transport{DialContext: a.DialContext}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() {
			name := fmt.Sprintf("/%d", i)
			address := []string{"192.0.2.2", "[2001:db8::2]"}[i%2]
			r, err := client.Post("http://"+address+name, "text/plain", strings.NewReader("hello"))
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			got, err := io.ReadAll(r.Body)
			if err != nil || string(got) != name+" hello "+body {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		})
	}
	wg.Wait()
}
