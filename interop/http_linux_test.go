package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/weirnet/weir/internal/nstest"
)

const greeting = "hello over there\n"

// site is an HTTP server's handler: something small, something large, and the SHA-256 of what is posted.
func site(large int64) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /small", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, greeting) })
	mux.HandleFunc("GET /large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(large))
		io.Copy(w, &stream{size: large})
	})
	mux.HandleFunc("POST /sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		io.Copy(h, r.Body)
		fmt.Fprintf(w, "%x", h.Sum(nil))
	})
	return mux
}

// serve serves site on l until the test ends, and counts connections.
func (w *world) serve(l net.Listener, large int64) *atomic.Int32 {
	var conns atomic.Int32
	s := &http.Server{Handler: site(large), ConnState: func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	w.t.Cleanup(func() {
		s.Close()
		if err := <-done; err != http.ErrServerClosed {
			w.t.Error(err)
		}
	})
	return &conns
}

// curl fetches from http.Serve on weir.
func TestCurl(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{noPool: true})
		large := size(64 << 20)
		dir := t.TempDir()
		post := filepath.Join(dir, "post")
		if err := os.WriteFile(post, block(), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, f := range w.families {
			l, err := w.stack.Listen("tcp", netip.AddrPortFrom(f.weir, 80).String())
			if err != nil {
				t.Fatal(err)
			}
			conns := w.serve(l, large)
			url := "http://" + netip.AddrPortFrom(f.weir, 80).String()

			if got := curl(t, url+"/small"); got != greeting {
				t.Errorf("%s: %q", f.name, got)
			}
			if code := curl(t, "-o", "/dev/null", "-w", "%{http_code}", url+"/nothing"); code != "404" {
				t.Errorf("%s: status %s of what is not there", f.name, code)
			}
			file := filepath.Join(dir, "large")
			curl(t, "-o", file, url+"/large")
			checkFile(t, file, large)
			if got, want := curl(t, "--data-binary", "@"+post, url+"/sum"), fmt.Sprintf("%x", sha256.Sum256(block())); got != want {
				t.Errorf("%s: the SHA-256 of what was posted is %s, want %s", f.name, got, want)
			}
			// Several URLs on one connection.
			before := conns.Load()
			small := filepath.Join(dir, "small")
			got := curl(t, "-w", "%{num_connects} ", "-o", small, url+"/small", "-o", small, url+"/small", "-o", file, url+"/large", "-o", small, url+"/small")
			if want := "1 0 0 0 "; got != want {
				t.Errorf("%s: new connections for several URLs: %q, want %q", f.name, got, want)
			}
			checkFile(t, file, large)
			if n := conns.Load() - before; n != 1 {
				t.Errorf("%s: %d connections for several URLs, want 1", f.name, n)
			}
		}
	})
}

// curl runs curl and returns what it wrote.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	return nstest.Command(t, patience, "curl", append([]string{"-sS", "--noproxy", "*"}, args...)...)
}

// checkFile checks that a file is a stream of that size.
func checkFile(t *testing.T, name string, size int64) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := receive(f, size); err != nil {
		t.Errorf("%s: %v", filepath.Base(name), err)
	}
}

// client is an HTTP client whose connections are weir's.
func (w *world) client() *http.Client {
	tr := &http.Transport{DialContext: w.stack.DialContext}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// get fetches a URL.
func (w *world) get(c *http.Client, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(w.ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, res.Status)
	}
	return io.ReadAll(res.Body)
}

// fetch gets a URL and checks that it is a stream of that size.
func (w *world) fetch(c *http.Client, url string, size int64) {
	w.t.Helper()
	b, err := w.get(c, url)
	if err == nil {
		err = receive(bytes.NewReader(b), size)
	}
	if err != nil {
		w.t.Errorf("%s: %v", url, err)
	}
}

// An HTTP client on weir fetches from net/http on the kernel's sockets.
func TestHTTPClient(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		w := newWorld(t, options{noPool: true})
		large := size(64 << 20)
		for _, f := range w.families {
			l, err := net.Listen("tcp", netip.AddrPortFrom(f.kernel, 80).String())
			if err != nil {
				t.Fatal(err)
			}
			conns := w.serve(l, large)
			c := w.client()
			url := "http://" + l.Addr().String()
			for range 3 {
				if b, err := w.get(c, url+"/small"); err != nil || string(b) != greeting {
					t.Errorf("%s: %q, %v", f.name, b, err)
				}
			}
			w.fetch(c, url+"/large", large)
			res, err := c.Post(url+"/sum", "application/octet-stream", &stream{size: large})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if want := fmt.Sprintf("%x", sum(large)); err != nil || string(got) != want {
				t.Errorf("%s: the SHA-256 of what was posted is %s (%v), want %s", f.name, got, err, want)
			}
			if n := conns.Load(); n != 1 {
				t.Errorf("%s: %d connections, want 1", f.name, n)
			}
		}
	})
}

// An HTTP client on weir fetches from nginx.
func TestNginx(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		dir := documents(t)
		conf := filepath.Join(dir, "nginx.conf")
		err := os.WriteFile(conf, fmt.Appendf(nil, `
			user root; daemon off; master_process off; error_log stderr; pid nginx.pid;
			events {}
			http {
				access_log off; sendfile on;
				client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
				server { listen %v:80; listen [%v]:80; root %s; }
			}`, v4.kernel, v6.kernel, dir), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, options{noPool: true})
		w.background("nginx", "-p", dir, "-e", "stderr", "-c", conf)
		w.fetchDocuments(80)
	})
}

// An HTTP client on weir fetches from Python's server.
func TestPythonServer(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		dir := documents(t)
		w := newWorld(t, options{noPool: true})
		w.background("python3", "-m", "http.server", "--bind", "::", "--directory", dir, "80")
		w.fetchDocuments(80)
	})
}

// documentSize is that of the large document.
func documentSize() int64 { return size(16 << 20) }

// documents is a directory with a small file and a large one.
func documents(t *testing.T) string {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "large"))
	if err == nil {
		_, err = io.Copy(f, &stream{size: documentSize()})
		err = errors.Join(err, f.Close())
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "small"), []byte(greeting), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// fetchDocuments fetches documents from a server of the kernel's side, as soon as it listens.
func (w *world) fetchDocuments(port uint16) {
	w.t.Helper()
	for _, f := range w.families {
		addr := netip.AddrPortFrom(f.kernel, port)
		w.awaitServer(addr)
		c := w.client()
		if b, err := w.get(c, "http://"+addr.String()+"/small"); err != nil || string(b) != greeting {
			w.t.Errorf("%s: %q, %v", f.name, b, err)
		}
		w.fetch(c, "http://"+addr.String()+"/large", documentSize())
	}
}

// awaitServer dials until something listens.
func (w *world) awaitServer(addr netip.AddrPort) {
	w.t.Helper()
	for {
		c, err := w.stack.DialTCP(w.ctx, netip.AddrPort{}, addr)
		if err == nil {
			c.Close()
			return
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			w.t.Fatal(err)
		}
	}
}

// background runs a program until the test ends. If it ends before, the test's patience does.
func (w *world) background(name string, args ...string) {
	w.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		nstest.Missing(w.t, name, err.Error())
	}
	ctx, cancel := context.WithCancel(w.ctx)
	cmd := exec.CommandContext(ctx, path, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- cmd.Wait()
		if ctx.Err() == nil {
			w.cancel()
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		err := <-done
		if w.t.Failed() {
			w.t.Logf("%s: %v\n%s", name, err, &out)
		}
	})
}
