package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// job is what a child process is to do: one work over one set-up, once. Each run has a process of its own, so that nobody inherits
// another's heap, goroutines, interfaces or namespace, and nobody has to clean up.
type job struct {
	Work    string  `json:"work"`
	Setup   string  `json:"setup"`
	Options options `json:"options"`
}

// errSkip marks what this machine cannot do.
var errSkip = errors.New("skipped")

// answer is what a child writes to its standard output.
type answer struct {
	Samples []sample `json:"samples,omitempty"`
	Error   string   `json:"error,omitempty"`
	Skip    string   `json:"skip,omitempty"`
}

// runChild does a job in a new process.
func runChild(j job, limit time.Duration) ([]sample, error) {
	s, ok := findSetup(j.Setup)
	if !ok {
		return nil, fmt.Errorf("no set-up %q", j.Setup)
	}
	arg, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "child", string(arg))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if s.namespace {
		cmd.SysProcAttr = ownNamespace()
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // who interrupts us means the child as well
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("not done after %v", limit)
		}
		return nil, fmt.Errorf("%s over %s: %w\n%s", j.Work, j.Setup, err, lastLines(errs.String(), 20))
	}
	var a answer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		return nil, fmt.Errorf("%s over %s: %w", j.Work, j.Setup, err)
	}
	switch {
	case a.Skip != "":
		return nil, fmt.Errorf("%s over %s: %w: %s", j.Work, j.Setup, errSkip, a.Skip)
	case a.Error != "":
		return nil, fmt.Errorf("%s over %s: %s", j.Work, j.Setup, a.Error)
	}
	return a.Samples, nil
}

// ownNamespace is a user and a network namespace, in which the process is root.
func ownNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// child is the process that runChild starts.
func child(arg string) error {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		return fmt.Errorf("child is for bench itself: %w", err)
	}
	w, ok := findWork(j.Work)
	s, known := findSetup(j.Setup)
	if !ok || !known {
		return fmt.Errorf("child: no work %q or no set-up %q", j.Work, j.Setup)
	}
	var a answer
	all, err := w.over(s, j.Options)
	switch {
	case errors.Is(err, errSkip):
		a.Skip = err.Error()
	case err != nil:
		a.Error = err.Error()
	default:
		a.Samples = all
	}
	return json.NewEncoder(os.Stdout).Encode(a)
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
