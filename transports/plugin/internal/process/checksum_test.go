package process_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/transports/plugin/internal/process"
)

// approved is a copy of this binary as a plugin, or a script that starts it, with its checksum in the config.
func approved(t *testing.T, script bool) process.Config {
	t.Helper()
	c := config(t, "good")
	c.Program = filepath.Join(t.TempDir(), "plugin")
	content, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	if script {
		content = []byte("#!/bin/sh\nexec '" + os.Args[0] + "' plugin good\n")
	}
	require.NoError(t, os.WriteFile(c.Program, content, 0o700))
	c.SHA256 = sum(t, c.Program)
	return c
}

// exchange puts another program in the place of one.
func exchange(t *testing.T, path string) {
	t.Helper()
	other := path + ".other"
	require.NoError(t, os.WriteFile(other, []byte("#!/bin/sh\nexec '"+os.Args[0]+"' plugin good\n# not the same\n"), 0o700))
	require.NoError(t, os.Rename(other, path))
}

// appendTo changes a program in its place, which harms neither of ours.
func appendTo(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.WriteString("\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestChecksumOfTheRightProgram(t *testing.T) {
	ctx := within(t)
	c := approved(t, false)
	c.SHA256 = " " + strings.ToUpper(c.SHA256)
	p := start(t, c)

	answer, err := tell(ctx, p, "hello")
	require.NoError(t, err)
	require.Equal(t, "hello", answer)
}

func TestProgramThatWasChangedSinceItsApproval(t *testing.T) {
	c := approved(t, false)
	appendTo(t, c.Program)

	err := refused(t, c)

	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "not the program that was approved")
	require.ErrorContains(t, err, sum(t, c.Program))
}

func TestWhatWasCheckedIsWhatRuns(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a program is started by its path here; see the next test")
	}
	c := approved(t, false)

	p, err := process.StartBetween(within(t), c, func() { exchange(t, c.Program) })

	require.NoError(t, err, "the program that was checked runs, whatever is at its path by now")
	exe, err := os.Readlink("/proc/" + strconv.Itoa(p.PID()) + "/exe")
	require.NoError(t, err)
	require.Contains(t, exe, "(deleted)")
	require.NoError(t, p.Stop(within(t)))
}

func TestProgramThatIsChangedWhileItStarts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("scripts have no first line here")
	}
	for name, c := range map[string]struct {
		script bool
		change func(t *testing.T, path string)
	}{
		"a script is exchanged":   {true, exchange},
		"a script is written to":  {true, appendTo},
		"a program is written to": {false, appendTo},
	} {
		t.Run(name, func(t *testing.T) {
			program := approved(t, c.script)

			p, err := process.StartBetween(within(t), program, func() { c.change(t, program.Program) })

			require.Nil(t, p)
			require.ErrorIs(t, err, fault.Invalid)
			require.ErrorContains(t, err, "its file was changed while it was started")
		})
	}
}
