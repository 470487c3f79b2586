package weir_test

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"

	"github.com/weirnet/weir"
)

// Fast Open through the API: the first Dial learns the cookie, and later ones send their data with the SYN, or by the first Write.
func TestFastOpenDial(t *testing.T) {
	s, err := weir.New(weir.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := (&weir.ListenConfig{Stack: s, FastOpen: 10}).Listen(context.Background(), "tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	for i, c := range []struct{ data, write string }{{"", "abc"}, {"abc", ""}, {"", "abc"}, {"ab", "c"}} {
		d := weir.Dialer{Stack: s, FastOpen: true, Data: []byte(c.data)}
		conn, err := d.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(c.write)); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*weir.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if all, err := io.ReadAll(conn); string(all) != "abc" || err != nil {
			t.Errorf("%d: %q, %v", i, all, err)
		}
		if info := conn.(*weir.TCPConn).Info(); info.FastOpened != (i > 0) {
			t.Errorf("%d: FastOpened %v", i, info.FastOpened)
		}
		conn.Close()
	}
	st := s.Stats().TCP
	if st.FastOpenActive != 3 || st.FastOpenPassive != 3 {
		t.Errorf("%+v", st)
	}
	// Who reads first is not left waiting for ever, and a refusal comes from the read.
	l.Close()
	conn, err := (&weir.Dialer{Stack: s, FastOpen: true}).Dial("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("read of a refused Fast Open: %v", err)
	}
	conn.Close()
	// More data than a SYN can carry, or the queue.
	l, _ = s.Listen("tcp", "127.0.0.1:81")
	conn, err = (&weir.Dialer{Stack: s, Data: huge[:300_000]}).Dial("tcp", "127.0.0.1:81")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 300_000)); err != nil {
		t.Error(err)
	}
}

// Config.SynCookies and MaxOrphans reach the stack.
func TestOpenAndCloseConfig(t *testing.T) {
	s, err := weir.New(weir.Config{SynCookies: weir.SynCookiesAlways, MaxOrphans: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := s.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, err := s.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Accept(); err != nil { // and never reads
			t.Fatal(err)
		}
		c.Close() // waits for the FIN of the other end
	}
	if st := s.Stats().TCP; st.SynCookiesReceived != 2 || st.OrphanDrops != 1 {
		t.Errorf("%d cookies and %d orphans dropped, want 2 and 1", st.SynCookiesReceived, st.OrphanDrops)
	}
	if _, err := weir.New(weir.Config{MaxOrphans: -1}); err == nil {
		t.Error("a negative limit is taken")
	}
}
