//! Operators that work element by element, named as ONNX names them.

use super::super::model::attribute;
use super::super::tensor::{Dtype, ValueType};
use super::{Emit, Value, broadcast};

impl Emit {
    fn same(&mut self, op: &str, x: Value) -> Value {
        let kind = self.kind(x).clone();
        self.op(op, &[x], vec![], kind)
    }

    fn binary(&mut self, op: &str, a: Value, b: Value) -> Value {
        let dims =
            broadcast(self.dims(a), self.dims(b)).expect("rules combine values of shapes that broadcast");
        let kind = ValueType::new(self.dtype(a), dims);
        self.op(op, &[a, b], vec![], kind)
    }

    fn compare(&mut self, op: &str, a: Value, b: Value) -> Value {
        let dims =
            broadcast(self.dims(a), self.dims(b)).expect("rules compare values of shapes that broadcast");
        self.op(op, &[a, b], vec![], ValueType::new(Dtype::Bool, dims))
    }

    /// `-x`
    pub fn neg(&mut self, x: Value) -> Value {
        self.same("Neg", x)
    }
    /// `|x|`
    pub fn abs(&mut self, x: Value) -> Value {
        self.same("Abs", x)
    }
    /// -1, 0 or 1
    pub fn sign(&mut self, x: Value) -> Value {
        self.same("Sign", x)
    }
    /// `e^x`
    pub fn exp(&mut self, x: Value) -> Value {
        self.same("Exp", x)
    }
    /// Natural logarithm
    pub fn log(&mut self, x: Value) -> Value {
        self.same("Log", x)
    }
    /// Square root
    pub fn sqrt(&mut self, x: Value) -> Value {
        self.same("Sqrt", x)
    }
    /// `1 / x`
    pub fn reciprocal(&mut self, x: Value) -> Value {
        self.same("Reciprocal", x)
    }
    /// `1 / (1 + e^-x)`
    pub fn sigmoid(&mut self, x: Value) -> Value {
        self.same("Sigmoid", x)
    }
    /// Hyperbolic tangent
    pub fn tanh(&mut self, x: Value) -> Value {
        self.same("Tanh", x)
    }
    /// Sine
    pub fn sin(&mut self, x: Value) -> Value {
        self.same("Sin", x)
    }
    /// Cosine
    pub fn cos(&mut self, x: Value) -> Value {
        self.same("Cos", x)
    }
    /// Hyperbolic sine
    pub fn sinh(&mut self, x: Value) -> Value {
        self.same("Sinh", x)
    }
    /// Hyperbolic cosine
    pub fn cosh(&mut self, x: Value) -> Value {
        self.same("Cosh", x)
    }
    /// The nearest whole number, ties to even
    pub fn round(&mut self, x: Value) -> Value {
        self.same("Round", x)
    }
    /// Gauss error function
    pub fn erf(&mut self, x: Value) -> Value {
        self.same("Erf", x)
    }
    /// `max(x, 0)`
    pub fn relu(&mut self, x: Value) -> Value {
        self.same("Relu", x)
    }
    /// `log(1 + e^x)`, without overflow
    pub fn softplus(&mut self, x: Value) -> Value {
        self.same("Softplus", x)
    }
    /// `a + b`
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.binary("Add", a, b)
    }
    /// `a - b`
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.binary("Sub", a, b)
    }
    /// `a * b`
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.binary("Mul", a, b)
    }
    /// `a / b`
    pub fn div(&mut self, a: Value, b: Value) -> Value {
        self.binary("Div", a, b)
    }
    /// `a ^ b`
    pub fn pow(&mut self, a: Value, b: Value) -> Value {
        self.binary("Pow", a, b)
    }
    /// The larger of `a` and `b`
    pub fn max(&mut self, a: Value, b: Value) -> Value {
        self.binary("Max", a, b)
    }
    /// The smaller of `a` and `b`
    pub fn min(&mut self, a: Value, b: Value) -> Value {
        self.binary("Min", a, b)
    }
    /// `a` modulo `b` for integers, with the sign of `b`
    pub fn modulo(&mut self, a: Value, b: Value) -> Value {
        self.binary("Mod", a, b)
    }
    /// `x * number`, rounded once: a factor that 16 bits do not represent multiplies in 32
    pub fn scale(&mut self, x: Value, number: f64) -> Value {
        let dtype = self.dtype(x);
        let is_low = matches!(dtype, Dtype::F16 | Dtype::Bf16);
        if is_low && !dtype.represents(number) {
            let wide = self.cast(x, Dtype::F32);
            let scaled = self.scale(wide, number);
            return self.cast(scaled, dtype);
        }
        let factor = self.scalar(number, x);
        self.mul(x, factor)
    }
    /// `x + number`
    pub fn shift(&mut self, x: Value, number: f64) -> Value {
        let summand = self.scalar(number, x);
        self.add(x, summand)
    }
    /// `a == b`
    pub fn equal(&mut self, a: Value, b: Value) -> Value {
        self.compare("Equal", a, b)
    }
    /// `a > b`
    pub fn greater(&mut self, a: Value, b: Value) -> Value {
        self.compare("Greater", a, b)
    }
    /// `a < b`
    pub fn less(&mut self, a: Value, b: Value) -> Value {
        self.compare("Less", a, b)
    }
    /// `a >= b`
    pub fn greater_or_equal(&mut self, a: Value, b: Value) -> Value {
        self.compare("GreaterOrEqual", a, b)
    }
    /// `a <= b`
    pub fn less_or_equal(&mut self, a: Value, b: Value) -> Value {
        self.compare("LessOrEqual", a, b)
    }
    /// `a` and `b`, both truth values
    pub fn and(&mut self, a: Value, b: Value) -> Value {
        self.compare("And", a, b)
    }
    /// Logical negation
    pub fn not(&mut self, x: Value) -> Value {
        self.same("Not", x)
    }

    /// `condition ? a : b`
    pub fn select(&mut self, condition: Value, a: Value, b: Value) -> Value {
        let both = broadcast(self.dims(a), self.dims(b)).expect("both branches broadcast");
        let dims =
            broadcast(self.dims(condition), &both).expect("the condition broadcasts with the branches");
        let kind = ValueType::new(self.dtype(a), dims);
        self.op("Where", &[condition, a, b], vec![], kind)
    }

    /// `x` where the condition holds, 0 elsewhere
    pub fn keep_where(&mut self, condition: Value, x: Value) -> Value {
        let zero = self.scalar(0.0, x);
        self.select(condition, x, zero)
    }

    /// 1 where `x > 0`, 0 elsewhere, in the type of `x`
    ///
    /// In 32 bits it is a HardSigmoid so steep that every number from the smallest normal one on gives 1: ONNX Runtime
    /// computes that with vector instructions on all threads, but `Where` and conversions of truth values with one
    /// thread, element by element, which takes two to three times as long on the CPU. Opset 22 defines the operator anew;
    /// the kernels of graphics processors may stop before that.
    pub fn unit_step(&mut self, x: Value) -> Value {
        let has_kernel = self.is_single_on_cpu(x) || (self.dtype(x) == Dtype::F32 && self.opset() < 22);
        if !has_kernel {
            let zero = self.scalar(0.0, x);
            let positive = self.greater(x, zero);
            return self.cast(positive, self.dtype(x));
        }
        let kind = self.kind(x).clone();
        let steep = [attribute::float("alpha", f32::MAX), attribute::float("beta", 0.0)];
        self.op("HardSigmoid", &[x], steep.to_vec(), kind)
    }

    /// Conversion of the element type; nothing if it is that type already
    pub fn cast(&mut self, x: Value, dtype: Dtype) -> Value {
        if self.dtype(x) == dtype {
            return x;
        }
        let kind = ValueType::new(dtype, self.dims(x));
        self.op("Cast", &[x], vec![attribute::int("to", i64::from(dtype.code()))], kind)
    }
}
