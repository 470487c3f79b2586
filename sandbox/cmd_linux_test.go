package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The program keeps what it would have without a sandbox.
func TestKeeps(t *testing.T) {
	need(t)
	dir := t.TempDir()
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	t.Setenv("WEIR_TEST", "a value\nof two lines")
	tests := []struct {
		name string
		cmd  *Cmd
		want string
	}{
		{"user", shell(t, "id -u; id -g"), fmt.Sprintf("%d\n%d", os.Getuid(), os.Getgid())},
		{"environment", shell(t, `printf %s "$WEIR_TEST"`), "a value\nof two lines"},
		{"arguments", shell(t, `printf '<%s>' "$@"`, "", "a b", "ü\xff"), "<><a b><ü\xff>"},
		{"working directory", shell(t, "pwd"), must(os.Getwd())},
		{"standard input", shell(t, "cat"), "from a reader"},
		{"umask", shell(t, "umask"), fmt.Sprintf("%04o", umask())},
		{"limits", shell(t, "ulimit -n"), strings.TrimSpace(string(must(exec.Command("sh", "-c", "ulimit -n").Output())))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cmd.Stdin = strings.NewReader("from a reader")
			if got := output(t, tt.cmd); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}

	c := shell(t, "pwd; echo $PWD")
	c.Dir = dir
	if got := output(t, c); got != dir+"\n"+dir {
		t.Errorf("in Dir: %q, want %q twice", got, dir)
	}
	c = shell(t, "env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD=")
	c.Env = []string{"ONE=1", "PATH=" + os.Getenv("PATH")}
	if got := output(t, c); got != "ONE=1\nPATH="+os.Getenv("PATH") {
		t.Errorf("with Env: %q", got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func umask() int {
	old := unix.Umask(0)
	unix.Umask(old)
	return old
}

// How the program ends is how the Cmd ends.
func TestExit(t *testing.T) {
	need(t)
	tests := []struct {
		script string
		code   int
		signal syscall.Signal
	}{
		{"exit 0", 0, 0}, {"exit 7", 7, 0}, {"exit 255", 255, 0},
		{"kill -TERM $$", 143, unix.SIGTERM}, {"kill -KILL $$", 137, unix.SIGKILL}, {"kill -SEGV $$", 139, unix.SIGSEGV},
	}
	for _, noPIDs := range []bool{false, true} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s/%v", tt.script, noPIDs), func(t *testing.T) {
				c := shell(t, tt.script)
				c.NoPIDNamespace = noPIDs
				err := c.Run()
				var exit *ExitError
				if (err == nil) != (tt.code == 0) || err != nil && !errors.As(err, &exit) || ExitCode(err) != tt.code {
					t.Fatalf("%v, exit code %d, want %d", err, ExitCode(err), tt.code)
				}
				if s, ok := c.ProcessState().Signal(); s != tt.signal || ok != (tt.signal != 0) || c.ProcessState().ExitCode() != tt.code {
					t.Errorf("signal %v, %v, want %v", s, ok, tt.signal)
				}
			})
		}
	}
}

// What cannot be executed is told from what fails, as a shell does.
func TestNotExecuted(t *testing.T) {
	need(t)
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, path string
		dir        string
		code       int
		is         error
	}{
		{"not in PATH", "weir-no-such-program", "", ExitNotFound, exec.ErrNotFound},
		{"no such file", dir + "/none", "", ExitNotFound, os.ErrNotExist},
		{"not executable", write("plain", "x", 0o644), "", ExitNotExecutable, os.ErrPermission},
		{"a directory", dir, "", ExitNotExecutable, nil},
		{"no format", write("empty", "x", 0o755), "", ExitNotExecutable, unix.ENOEXEC},
		{"no interpreter", write("script", "#!/no/such/interpreter\n", 0o755), "", ExitNotFound, os.ErrNotExist},
		{"no directory", "/bin/sh", dir + "/none", ExitFailed, os.ErrNotExist},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := command(t, tt.path)
			c.Dir = tt.dir
			err := c.Run()
			if ExitCode(err) != tt.code || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v, exit code %d, want %v and %d", err, ExitCode(err), tt.is, tt.code)
			}
		})
	}
}

// Pipes and files beyond the standard ones reach the program, and nothing else does.
func TestFiles(t *testing.T) {
	need(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := shell(t, "ls /proc/self/fd >&3; cat >&2")
	c.ExtraFiles = []*os.File{w}
	stdin, err1 := c.StdinPipe()
	stderr, err2 := c.StderrPipe()
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		t.Fatal(err)
	}
	w.Close()
	fmt.Fprintln(stdin, "through pipes")
	stdin.Close()
	if got := line(t, stderr); got != "through pipes" {
		t.Errorf("stderr: %q", got)
	}
	var fds bytes.Buffer
	if _, err := fds.ReadFrom(r); err != nil { // ends when the program does, since nobody else has the other end
		t.Error(err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	plain := exec.Command("sh", "-c", "ls /proc/self/fd >&3")
	plain.ExtraFiles = []*os.File{must(os.Create(filepath.Join(t.TempDir(), "fds")))}
	if err := plain.Run(); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(plain.ExtraFiles[0].Name())
	if fds.String() != string(want) {
		t.Errorf("descriptors %q, want %q as without a sandbox", fds.String(), want)
	}
}

// A program that closes its standard output is seen to, although its init had it too.
func TestStdoutCloses(t *testing.T) {
	need(t)
	c := shell(t, "exec >&-; cat")
	stdin, err1 := c.StdinPipe()
	stdout, err2 := c.StdoutPipe()
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		t.Fatal(err)
	}
	if n, err := stdout.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("Read = %d, %v, want the end", n, err)
	}
	stdin.Close()
	if err := c.Wait(); err == nil {
		t.Error("cat without standard output ended well")
	}
}

// The context's end is the program's.
func TestContext(t *testing.T) {
	need(t)
	for _, noPIDs := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		c := CommandContext(ctx, "sh", "-c", "echo started; sleep 1000 & sleep 1000")
		c.network.serve = nothing
		c.NoPIDNamespace = noPIDs
		out, _ := c.StdoutPipe()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		line(t, out)
		child := pidfdOf(t, os.Getpid(), "sleep 1000")
		cancel()
		if err := c.Wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("Wait = %v", err)
		}
		awaitEnd(t, child)
	}
}

// Signals reach the program, which may catch them.
func TestSignal(t *testing.T) {
	need(t)
	c := shell(t, `trap 'echo got USR1; exit 3' USR1; echo ready; while :; do sleep 0.01; done`)
	out, _ := c.StdoutPipe()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line(t, out)
	if err := c.Signal(unix.SIGUSR1); err != nil {
		t.Error(err)
	}
	if got := line(t, out); got != "got USR1" {
		t.Errorf("%q", got)
	}
	if err := c.Wait(); ExitCode(err) != 3 {
		t.Errorf("Wait = %v", err)
	}
	if err := c.Signal(unix.SIGUSR1); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the end: %v", err)
	}
}

// A Cmd is used in order, and once.
func TestOrder(t *testing.T) {
	need(t)
	c := command(t, "true")
	if c.Wait() == nil || c.Signal(unix.SIGTERM) == nil {
		t.Error("Wait and Signal before Start")
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if c.Start() == nil || c.Wait() == nil {
		t.Error("twice")
	}
	if _, err := c.StdinPipe(); err == nil {
		t.Error("StdinPipe after Start")
	}
	c = command(t, "true")
	c.MTU = 1279
	if err := c.Run(); err == nil || !strings.Contains(err.Error(), "1280") {
		t.Errorf("MTU 1279: %v", err)
	}
}

// A main that forgets Init is told so, and does not start itself for ever.
func TestForgotten(t *testing.T) {
	need(t)
	t.Setenv(helperVariable, "run")
	t.Setenv(forgetVariable, "1")
	c := command(t, "true")
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.Stderr = f
	if err := c.Run(); err == nil || !strings.Contains(err.Error(), "main must call sandbox.Init") {
		t.Errorf("the parent: %v", err)
	}
	if out, _ := os.ReadFile(f.Name()); !strings.Contains(string(out), "main does not call sandbox.Init") {
		t.Errorf("the child: %s", out)
	}
}
