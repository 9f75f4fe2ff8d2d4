package command

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

// loadEnvFiles sets the environment variables of the files that --envfile names, as
// `caddy run` does. A variable that is set already keeps its value.
func loadEnvFiles(cmd *cobra.Command) error {
	if cmd.Flags().Lookup(flagEnvFile) == nil {
		return nil
	}
	files, err := cmd.Flags().GetStringSlice(flagEnvFile)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		if cmd.Flags().Changed(flagEnvFile) {
			return fmt.Errorf("--%s is empty: give it a file, or leave it out", flagEnvFile)
		}
		return nil
	}
	for _, file := range files {
		if err := loadEnvFile(file); err != nil {
			return fmt.Errorf("--%s %s: %w", flagEnvFile, file, err)
		}
	}
	// A file can set HOME or XDG_DATA_HOME, and the default paths depend on these.
	caddy.DefaultStorage.Path = caddy.AppDataDir()
	return nil
}

func loadEnvFile(file string) error {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	variables, err := parseEnvFile(f)
	if err != nil {
		return err
	}
	for name, value := range variables {
		if _, set := os.LookupEnv(name); !set {
			if err := os.Setenv(name, value); err != nil {
				return fmt.Errorf("the variable %s: %w", name, err)
			}
		}
	}
	return nil
}

// parseEnvFile reads a file of environment variables exactly as Caddy does. Caddy does not
// export its function. Errors do not show values.
func parseEnvFile(r io.Reader) (map[string]string, error) {
	variables := make(map[string]string)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimPrefix(name, "export ") // shells can read such files too
		switch {
		case !ok || name == "" || strings.Contains(name, " "):
			return nil, fmt.Errorf("line %d: want NAME=VALUE", n)
		case strings.HasPrefix(value, " ") || strings.HasPrefix(value, "\t"):
			return nil, fmt.Errorf("line %d: the value of %s begins with a space: want NAME=VALUE", n, name)
		}
		if before, _, comment := strings.Cut(value, "#"); comment {
			value = strings.TrimRight(before, " \t")
		}
		// A value in quotation marks can have several lines.
		if strings.HasPrefix(value, `"`) || strings.HasPrefix(value, "'") {
			quote := value[:1]
			for !strings.HasSuffix(line, quote) || strings.HasSuffix(line, `\`+quote) {
				value = strings.ReplaceAll(value, `\`+quote, quote)
				if !lines.Scan() {
					break
				}
				n++
				line = strings.ReplaceAll(lines.Text(), `\`+quote, quote)
				value += "\n" + line
			}
			value = strings.TrimSuffix(strings.TrimPrefix(value, quote), quote)
		}
		variables[name] = value
	}
	return variables, lines.Err()
}
