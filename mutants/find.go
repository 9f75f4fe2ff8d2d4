package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// mutant is one change.
type mutant struct {
	id    int    // from 1, within a package
	place string // file:line:column
	what  string // the change, for people
}

// finder finds the changes of one file, and the edits that compile all of them into it.
type finder struct {
	fset    *token.FileSet
	info    *types.Info
	source  []byte
	file    string       // path from the root of the repository
	changed map[int]bool // lines to change

	mutants []mutant // of all files so far
	edits   []edit
}

// find adds the changes of a file.
func (f *finder) find(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			return n.Tok == token.VAR
		case *ast.BlockStmt:
			f.statements(n.List)
		case *ast.CaseClause:
			f.statements(n.Body)
			f.conditions(n.List...)
		case *ast.CommClause:
			f.statements(n.Body)
		case *ast.IfStmt:
			f.conditions(n.Cond)
		case *ast.ForStmt:
			f.conditions(n.Cond)
		case *ast.ReturnStmt:
			f.conditions(n.Results...)
		case *ast.BinaryExpr:
			return f.binary(n)
		}
		return true
	})
}

// statements leaves out statements, one at a time.
func (f *finder) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if call, ok := s.X.(*ast.CallExpr); ok {
				if name, ok := call.Fun.(*ast.Ident); ok && name.Name == "panic" {
					continue // the compiler may need it where a return is missing
				}
			}
		case *ast.AssignStmt:
			blank := func(e ast.Expr) bool { name, ok := e.(*ast.Ident); return ok && name.Name == "_" }
			if s.Tok == token.DEFINE || !slices.ContainsFunc(s.Lhs, func(e ast.Expr) bool { return !blank(e) }) {
				continue
			}
		case *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt:
		case *ast.BranchStmt:
			if s.Tok != token.BREAK && s.Tok != token.CONTINUE {
				continue
			}
		default:
			continue
		}
		if id := f.add(s, "left out"); id != 0 {
			f.wrap(s, fmt.Sprintf("if !mutantIs(%d) { ", id), " }")
		}
	}
}

// conditions negates Boolean expressions. [finder.binary] negates comparisons.
func (f *finder) conditions(list ...ast.Expr) {
	for _, e := range list {
		if e == nil || f.constant(e) || !f.boolean(e) {
			continue
		}
		if _, ok := ast.Unparen(e).(*ast.BinaryExpr); ok {
			continue
		}
		f.negate(e)
	}
}

func (f *finder) negate(e ast.Expr) {
	if id := f.add(e, "negated"); id != 0 {
		f.wrap(e, fmt.Sprintf("(mutantIs(%d) != (", id), "))")
	}
}

// boundaries maps a comparison to the one that differs only where both sides are equal.
var boundaries = map[token.Token]string{token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}

// binary changes an expression with two operands, and reports whether to look into it.
func (f *finder) binary(e *ast.BinaryExpr) bool {
	if f.constant(e) {
		return false
	}
	switch e.Op { //nolint:exhaustive // the others are not changed
	case token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ:
		f.negate(e)
		if other, ok := boundaries[e.Op]; ok {
			f.boundary(e, other)
		}
	case token.LAND, token.LOR:
		for _, operand := range []ast.Expr{e.X, e.Y} {
			f.drop(e.Op, operand)
		}
	case token.ADD, token.SUB:
		f.arithmetic(e)
	}
	return true
}

// boundary replaces a comparison.
func (f *finder) boundary(e *ast.BinaryExpr, other string) {
	text := f.text(e)
	at := f.offset(e.OpPos) - f.offset(e.Pos())
	replaced := text[:at] + other + text[at+len(e.Op.String()):]
	if strings.Contains(text, "\n") {
		return // the text is repeated, and a comment at the end of a line would hide the rest
	}
	if id := f.add(e, other+" in place of "+e.Op.String()); id != 0 {
		f.wrap(e, fmt.Sprintf("(mutantIs(%d) && (%s) || !mutantIs(%d) && (", id, replaced, id), "))")
	}
}

// drop leaves out one operand of && or ||.
func (f *finder) drop(op token.Token, operand ast.Expr) {
	if b, ok := operand.(*ast.BinaryExpr); ok && b.Op == op {
		return // its own operands are left out
	}
	if !f.boolean(operand) {
		return
	}
	if id := f.add(operand, "left out of "+op.String()); id != 0 {
		open := fmt.Sprintf("(mutantIs(%d) || (", id)
		if op == token.LOR {
			open = fmt.Sprintf("(!mutantIs(%d) && (", id)
		}
		f.wrap(operand, open, "))")
	}
}

// arithmetic exchanges + and - of whole numbers.
func (f *finder) arithmetic(e *ast.BinaryExpr) {
	basic, ok := f.info.TypeOf(e).Underlying().(*types.Basic)
	if !ok || basic.Info()&types.IsInteger == 0 || !types.Identical(f.info.TypeOf(e.X), f.info.TypeOf(e.Y)) {
		return
	}
	name, other := "mutantAdd", "-"
	if e.Op == token.SUB {
		name, other = "mutantSub", "+"
	}
	if id := f.add(e, other+" in place of "+e.Op.String()); id != 0 {
		f.wrap(e, fmt.Sprintf("%s(%d, ", name, id), ")")
		f.replace(e.OpPos, e.Op.String(), ",")
	}
}

// add makes a change of n; 0 if no line of n's beginning has changed.
func (f *finder) add(n ast.Node, how string) (id int) {
	at := f.fset.Position(n.Pos())
	if !f.changed[at.Line] {
		return 0
	}
	text := strings.Join(strings.Fields(f.text(n)), " ")
	if len(text) > 80 {
		text = text[:80] + "…"
	}
	id = len(f.mutants) + 1
	f.mutants = append(f.mutants, mutant{id, fmt.Sprintf("%s:%d:%d", f.file, at.Line, at.Column), text + ": " + how})
	return id
}

// boolean reports whether e has the type bool, and no type that is made of bool.
func (f *finder) boolean(e ast.Expr) bool {
	t := f.info.Types[e]
	return t.IsValue() && (types.Identical(t.Type, types.Typ[types.Bool]) || types.Identical(t.Type, types.Typ[types.UntypedBool]))
}

func (f *finder) constant(e ast.Expr) bool { return f.info.Types[e].Value != nil }

func (f *finder) offset(pos token.Pos) int { return f.fset.Position(pos).Offset }

func (f *finder) text(n ast.Node) string {
	return string(f.source[f.offset(n.Pos()):f.offset(n.End())])
}
