package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// loaded is a package with its types.
type loaded struct {
	dir   string // absolute
	name  string
	fset  *token.FileSet
	info  *types.Info
	files map[string]*ast.File // by name within dir; without tests
}

// load parses the package in a directory, and finds the types of its expressions.
func load(ctx context.Context, root, dir string) (*loaded, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-json=ImportPath,Name,Dir,GoFiles,Export,DepOnly", "./"+dir) //nolint:gosec // a directory of the list core
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	type listed struct {
		ImportPath, Name, Dir, Export string
		GoFiles                       []string
		DepOnly                       bool
	}
	exports := map[string]string{}
	var p listed
	for dec := json.NewDecoder(out); ; {
		var one listed
		if err = dec.Decode(&one); err != nil {
			break
		}
		exports[one.ImportPath] = one.Export
		if !one.DepOnly {
			p = one
		}
	}
	if waitErr := cmd.Wait(); waitErr != nil || !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("go list: %w", waitErr), err)
	}
	l := &loaded{
		dir: p.Dir, name: p.Name, fset: token.NewFileSet(), files: map[string]*ast.File{},
		info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}},
	}
	var files []*ast.File
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(l.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files, l.files[name] = append(files, file), file
	}
	conf := types.Config{Importer: importer.ForCompiler(l.fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	_, err = conf.Check(p.ImportPath, l.fset, files, l.info)
	return l, err
}
